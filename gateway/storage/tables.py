"""The service's tables. Times are epoch milliseconds UTC (BIGINT), so that both databases keep them alike.

History (readings) is not here: it lives in the time-series store.
"""

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
    true,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowId: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite gives numbers of its own accord only to INTEGER keys."""


def _time(name: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, index=index)


class _Texts(TypeDecorator[dict[str, str]]):
    """A few texts stand in very many rows: each is parsed once, and what is read is shared. Nobody changes it."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        parse = super().result_processor(dialect, coltype)
        return parse and lru_cache(_TEXTS_KNOWN)(parse)


_TEXTS_KNOWN: Final = 4_096


def _texts(name: str) -> Column[dict[str, str]]:
    """A text in both languages: {"en", "zh-CN"}."""
    return Column(name, _Texts, nullable=False)


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index of only those rows that meet `where`, as SQL.

    An index of what is open says so by `IS NULL`: a table without statistics makes PostgreSQL expect few rows of that,
    but nearly all rows of `IS NOT NULL`, and it would read the whole table.
    """
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def _version() -> Column[int]:
    """Rises with each change; a stale change is refused."""
    return Column("version", Integer, nullable=False, default=1)


def _drill() -> Column[bool]:
    """Part of an exercise: marked everywhere, tells nobody outside, counts in no figure but its own."""
    return Column("drill", Boolean, nullable=False, default=False)


site = Table(
    "site",
    metadata,
    Column("code", String(64), primary_key=True),
    _texts("name"),
    Column("time_zone", String(64), nullable=False),
    _time("created_at"),
    Column("version", Integer, nullable=False, server_default="1"),
)

equipment = Table(
    "equipment",
    metadata,
    Column("site", String(64), ForeignKey("site.code"), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    _texts("name"),
    _texts("place"),
    Column("adopted", Boolean, nullable=False),
    # Null while it is in use. Its row stays: history, alarms and tickets name it.
    _time("retired_at", nullable=True),
    # Codes on the same site, "" for none.
    Column("replaced_by", String(64), nullable=False, server_default=""),
    Column("replaces", String(64), nullable=False, server_default=""),
    # Codes and kinds under which it was known before; messages under a former code are taken as its own.
    Column("former_codes", JSON, nullable=False, server_default="[]"),
    Column("former_kinds", JSON, nullable=False, server_default="[]"),
    # The code that it sends, where equipment of another kind had that code first; "" for none.
    Column("shares_code", String(64), nullable=False, server_default=""),
    _time("created_at"),
    _version(),
)

last_message = Table(
    "last_message",
    metadata,
    # Of equipment that nobody has adopted, and of retired equipment that still sends. Erased when it is adopted.
    Column("site", String(64), primary_key=True),
    Column("equipment", String(64), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    _time("received_at"),
    # How many messages have come since it is kept.
    Column("count", Integer, nullable=False, server_default="1"),
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site", String(64), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("part", String(128), nullable=False),
    # Where in the building, as a fire panel names it; mostly the floor.
    Column("zone", String(128), nullable=False, server_default=""),
    Column("rule", String(128), nullable=False),
    # Set while the alarm is open, null afterwards: the database itself keeps a second open one out.
    Column("open_key", String(400), nullable=True, unique=True),
    _texts("title"),
    _texts("advice"),
    Column("priority", String(16), nullable=False),
    Column("life_safety", Boolean, nullable=False),
    Column("latching", Boolean, nullable=False),
    Column("state", String(32), nullable=False),
    Column("active", Boolean, nullable=False),
    _time("raised_at"),
    _time("received_at"),
    _time("returned_at", nullable=True, index=True),
    _time("acknowledged_at", nullable=True),
    Column("acknowledged_by", String(64), nullable=True),
    # Null while the alarm is open, as `open_key` is set: what is open is found by it (`alarm_is_open`).
    _time("closed_at", nullable=True, index=True),
    Column("activations", Integer, nullable=False),
    Column("field", String(64), nullable=False),
    Column("value", JSON(none_as_null=True), nullable=True),
    Column("unit", String(16), nullable=False),
    Column("wants_ticket", String(16), nullable=False),
    Column("playbook", String(64), nullable=False),
    # The reasons why it is not annunciated, as `alarms.suppression` has them; none: it is.
    Column("suppressions", JSON, nullable=False, server_default="[]"),
    Column("annunciated", Boolean, nullable=False, server_default=true()),
    # Who has stopped the sound; a new activation sounds again.
    _time("silenced_at", nullable=True),
    Column("silenced_by", String(64), nullable=True),
    # After how many ms of standing acknowledged it asks again, 0: never.
    Column("re_alarm", BigInteger, nullable=False, server_default="0"),
    # When it does so next, null while it waits anyway or is over.
    _time("re_alarm_at", nullable=True),
    # Activations come so fast that they are damped.
    Column("chattering", Boolean, nullable=False, server_default=false()),
    _drill(),
    _version(),
    # Lists of all alarms, newest first: one index for each way to narrow them (`gateway.api.alarm_routes`).
    Index(None, "priority", "id"),
    Index(None, "site", "priority", "id"),
    Index(None, "site", "equipment", "priority", "id"),
    # The newest alarm of a key.
    Index(None, "site", "equipment", "part", "rule", "id"),
    _partial("ix_alarm_open_id", "id", where="closed_at IS NULL"),
    _partial("ix_alarm_open_rule", "rule", where="closed_at IS NULL"),
    _partial("ix_alarm_open_site_equipment", "site", "equipment", where="closed_at IS NULL"),
    _partial("ix_alarm_open_re_alarm_at", "re_alarm_at", where="closed_at IS NULL AND re_alarm_at IS NOT NULL"),
)
alarm_is_open: Final = alarm.c.closed_at.is_(None)
"""What every query of open alarms says: the partial indexes hold exactly these."""

rule_version = Table(
    "rule_version",
    metadata,
    # What a site has changed in a rule, for all its equipment ("") or for one. Every version is kept; the newest holds.
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("rule", String(128), nullable=False),
    Column("site", String(64), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    # All that differs from the rule below it, by the keys of a rule file; none: nothing differs any more.
    Column("changes", JSON, nullable=False),
    # The version that it was rolled back to.
    Column("equals", Integer, nullable=True),
    # Id of the next version at the same place; null for the version that holds.
    Column("superseded_by", BigInteger, nullable=True, index=True),
    Column("person", String(64), nullable=False),
    # Who has agreed, where one person alone may not.
    Column("second_person", String(64), nullable=True),
    _time("at"),
    Column("note", Text, nullable=False),
    UniqueConstraint("rule", "site", "equipment", "version"),
    Index(None, "rule", "id"),
    Index(None, "rule", "site", "id"),
    Index(None, "rule", "site", "equipment", "id"),
    # The owner has taken up all versions to a number: none may come again under it.
    sqlite_autoincrement=True,
)

shelf = Table(
    "shelf",
    metadata,
    # Put aside by a person: the alarm of this key, whichever activation it is at.
    Column("site", String(64), primary_key=True),
    Column("equipment", String(64), primary_key=True),
    Column("part", String(128), primary_key=True),
    Column("rule", String(128), primary_key=True),
    _time("since"),
    _time("until"),
    # Ends already when the condition does.
    Column("one_shot", Boolean, nullable=False),
    Column("person", String(64), nullable=False),
    # Who has agreed, where one person alone may not.
    Column("second_person", String(64), nullable=True),
    Column("reason", Text, nullable=False),
)

out_of_service = Table(
    "out_of_service",
    metadata,
    # A whole equipment, or a part of it ("" is the whole).
    Column("site", String(64), primary_key=True),
    Column("equipment", String(64), primary_key=True),
    Column("part", String(128), primary_key=True),
    _time("since"),
    _time("planned_end"),
    Column("person", String(64), nullable=False),
    Column("second_person", String(64), nullable=True),
    Column("reason", Text, nullable=False),
)

maintenance_window = Table(
    "maintenance_window",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site", String(64), nullable=False),
    # What it covers; "" for all of the site.
    Column("kind", String(32), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("part", String(128), nullable=False),
    # As a fire panel names it.
    Column("zone", String(128), nullable=False),
    _time("starts_at"),
    _time("ends_at", index=True),
    Column("person", String(64), nullable=False),
    Column("second_person", String(64), nullable=True),
    Column("reason", Text, nullable=False),
    _time("cancelled_at", nullable=True),
    _time("created_at"),
    # When its end was recorded, or that it was cancelled; null while it is on or to come.
    _time("closed_at", nullable=True),
    _version(),
    Index(None, "site", "id"),
    Index(None, "site", "equipment", "id"),
    _partial("ix_maintenance_window_open_id", "id", where="closed_at IS NULL"),
    _partial("ix_maintenance_window_cancelled_id", "id", where="cancelled_at IS NOT NULL"),
)
window_is_open: Final = maintenance_window.c.closed_at.is_(None)
"""It is on or to come, or its end is not recorded yet."""

equipment_link = Table(
    "equipment_link",
    metadata,
    # What feeds or carries what: "power" or "network".
    Column("site", String(64), primary_key=True),
    Column("child", String(64), primary_key=True),
    Column("parent", String(64), primary_key=True),
    Column("relation", String(16), primary_key=True),
    _time("created_at"),
)

activation = Table(
    "activation",
    metadata,
    Column("id", String(36), primary_key=True),
    # Key, time of measurement and an event's digest: what is written again cannot make a second activation.
    Column("identity", String(440), nullable=False, unique=True),
    Column("alarm", String(36), ForeignKey("alarm.id"), nullable=False),
    Column("site", String(64), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("part", String(128), nullable=False),
    Column("rule", String(128), nullable=False),
    Column("priority", String(16), nullable=False),
    _time("started_at", index=True),
    _time("received_at"),
    _time("ended_at", nullable=True, index=True),
    # Counted while its alarm chattered: nobody was told anew, and it is owed no ticket.
    Column("damped", Boolean, nullable=False, server_default=false()),
    # By the first acknowledgement of its alarm after it.
    _time("acknowledged_at", nullable=True),
    # When it got its ticket, or needed none any more; null while its alarm may still be owed one for it.
    _time("ticketed_at", nullable=True),
    Column("value", JSON(none_as_null=True), nullable=True),
    Column("disproved", Boolean, nullable=False, default=False),
    _drill(),
    Index(None, "alarm", "id"),
    Index(None, "site", "id"),
    Index(None, "site", "equipment", "id"),
    # An alarm that stays open for long has very many activations; these are the few of them that wait for something.
    _partial("ix_activation_unended_alarm", "alarm", where="ended_at IS NULL"),
    _partial("ix_activation_unanswered_alarm", "alarm", "received_at", where="acknowledged_at IS NULL"),
    _partial("ix_activation_unticketed_alarm", "alarm", where="ticketed_at IS NULL"),
)

rule_memory = Table(
    "rule_memory",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("equipment", String(64), primary_key=True),
    Column("part", String(128), primary_key=True),
    Column("rule", String(128), primary_key=True),
    Column("body", JSON, nullable=False),
)

event = Table(
    "event",
    metadata,
    # Hash of topic and sample: the second delivery of an event is the same event.
    Column("digest", String(32), primary_key=True),
    Column("site", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("fields", JSON, nullable=False),
    Column("quality", Integer, nullable=False),
    _time("measured_at"),
    _time("received_at", index=True),
    # In the order of their arrival, in which events count.
    Index(None, "site", "equipment", "received_at", "digest"),
)

ticket = Table(
    "ticket",
    metadata,
    Column("number", String(100), primary_key=True),
    # Numbers count by day and site; this sorts by age.
    Column("id", String(36), nullable=False, unique=True),
    Column("type", String(16), nullable=False),
    Column("site", String(64), nullable=False),
    Column("equipment", String(64), nullable=False),
    # What it gathers while it is open, null afterwards: an alarm's key, or the fire of one building. Never a second.
    Column("open_key", String(400), nullable=True, unique=True),
    Column("alarm", String(36), ForeignKey("alarm.id"), nullable=True, index=True),
    _texts("title"),
    Column("priority", String(16), nullable=False),
    Column("state", String(32), nullable=False),
    Column("playbook", String(64), nullable=False),
    _time("opened_at", index=True),
    # Null while the ticket is open: what is open is found by it (`ticket_is_open`).
    _time("closed_at", nullable=True, index=True),
    _drill(),
    _version(),
    _partial("ix_ticket_open_id", "id", where="closed_at IS NULL"),
    # What is over, by the state in which it ended: a ticket enters these once, not with each step of its life.
    _partial("ix_ticket_over_state_id", "state", "id", where="closed_at IS NOT NULL"),
    _partial("ix_ticket_over_site_state_id", "site", "state", "id", where="closed_at IS NOT NULL"),
    _partial(
        "ix_ticket_over_site_equipment_state_id", "site", "equipment", "state", "id", where="closed_at IS NOT NULL"
    ),
)
ticket_is_open: Final = ticket.c.closed_at.is_(None)
ticket_is_over: Final = ticket.c.closed_at.is_not(None)

ticket_counter = Table(
    "ticket_counter",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("type", String(16), primary_key=True),
    Column("day", String(8), primary_key=True),
    Column("last", Integer, nullable=False),
)

ticket_alarm = Table(
    "ticket_alarm",
    metadata,
    # The alarms of a ticket. Several alarms of one key follow each other; a fire gathers many.
    Column("ticket", String(100), ForeignKey("ticket.number"), primary_key=True),
    Column("alarm", String(36), ForeignKey("alarm.id"), primary_key=True),
    _time("joined_at"),
    Index(None, "alarm", "joined_at", "ticket"),
)

ticket_activation = Table(
    "ticket_activation",
    metadata,
    Column("activation", String(36), ForeignKey("activation.id"), primary_key=True),
    Column("ticket", String(100), ForeignKey("ticket.number"), nullable=False, index=True),
)

attachment = Table(
    "attachment",
    metadata,
    # The bytes lie in the folder of attachments, under the id. The name is shown, and never a path.
    Column("id", String(36), primary_key=True),
    Column("ticket", String(100), ForeignKey("ticket.number"), nullable=False, index=True),
    Column("site", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("media_type", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    # Whether a photo has kept where it was taken, because that was asked for.
    Column("position", Boolean, nullable=False),
    Column("person", String(64), nullable=False),
    _time("at"),
)

journal = Table(
    "journal",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("subject", String(16), nullable=False),
    Column("thing", String(100), nullable=False),
    _time("at"),
    Column("event", String(32), nullable=False),
    Column("before", String(32), nullable=False),
    Column("after", String(32), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Index(None, "subject", "thing", "id"),
    _partial("ix_journal_annunciated", "thing", "at", where="event = 'annunciated'"),
    _partial("ix_journal_re_alarmed", "at", where="event = 're_alarmed'"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    _time("at"),
    Column("site", String(64), nullable=False),
    Column("actor", String(64), nullable=False),
    # Held on this site when it was done, joined by commas; empty for what acted by itself.
    Column("role", Text, nullable=False, server_default=""),
    Column("via", String(16), nullable=False),
    Column("origin", String(64), nullable=False),
    Column("act", String(64), nullable=False),
    Column("thing", String(128), nullable=False),
    Column("before", JSON(none_as_null=True), nullable=True),
    Column("after", JSON(none_as_null=True), nullable=True),
    Column("cause", String(128), nullable=False),
    # Place in the chain and its hash; null until the sealer has come by, within a second.
    Column("seq", BigInteger, nullable=True, unique=True),
    Column("hash", String(64), nullable=True),
    # By what it is asked for, newest first, in a period or not (docs/audit.md has the figures).
    Index(None, "at", "id"),
    Index(None, "site", "at", "id"),
    Index(None, "actor", "at", "id"),
    Index(None, "act", "at", "id"),
    Index(None, "thing", "at", "id"),
)

audit_day = Table(
    "audit_day",
    metadata,
    # One signed statement a day about the rows sealed on it; that of the last day is signed anew with every sealing.
    Column("day", String(10), primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    _time("at"),
    Column("closed", Boolean, nullable=False),
    Column("key", String(16), nullable=False),
    Column("signature", String(128), nullable=False),
)

person = Table(
    "person",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("username", String(64), nullable=False),
    _texts("name"),
    # Argon2id with its own salt and costs; null: no way in by password.
    Column("password_hash", Text, nullable=True),
    # Chosen by somebody else: the page asks for one of the person's own.
    Column("password_temporary", Boolean, nullable=False),
    # Sealed with a key that is not in the database: nonce, 160 bits and seal fill the column.
    Column("totp_secret", String(64), nullable=True),
    Column("totp_confirmed", Boolean, nullable=False),
    # The newest time step of which a code was taken: no code is good twice.
    Column("totp_step", BigInteger, nullable=False),
    # The demo's people, whose password everybody knows, are nobody to a real service on the same data.
    Column("demo", Boolean, nullable=False),
    _time("disabled_at", nullable=True),
    _time("last_seen_at", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _version(),
    UniqueConstraint("username", "demo"),
)

role_grant = Table(
    "role_grant",
    metadata,
    Column("person", String(64), ForeignKey("person.id"), primary_key=True),
    # A site's code, or "*" for all.
    Column("site", String(64), primary_key=True),
    Column("role", String(32), primary_key=True),
    _time("granted_at"),
)

login = Table(
    "login",
    metadata,
    Column("id", String(36), primary_key=True),
    # SHA-256 of the cookie, in hex: who reads this table cannot log in with it.
    Column("digest", String(64), nullable=False, unique=True),
    # The cookie before the last rotation is good for some seconds more: a page has several requests under way.
    Column("previous_digest", String(64), nullable=True, index=True),
    _time("previous_until", nullable=True),
    Column("rotate", Boolean, nullable=False),
    Column("person", String(64), ForeignKey("person.id"), nullable=False, index=True),
    Column("origin", String(64), nullable=False),
    Column("agent", String(200), nullable=False),
    _time("created_at"),
    _time("last_used_at"),
)

known_device = Table(
    "known_device",
    metadata,
    # A browser in which this person has logged in before: a stranger's guesses do not slow it.
    Column("digest", String(64), primary_key=True),
    Column("person", String(64), ForeignKey("person.id"), primary_key=True, index=True),
    _time("last_used_at"),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("person", String(64), ForeignKey("person.id"), nullable=False, index=True),
)

login_failure = Table(
    "login_failure",
    metadata,
    # What slows a guesser, shared by all services. Digests: people type passwords where the name belongs.
    Column("digest", String(64), primary_key=True),
    # Of the user name, where it is counted by one.
    Column("account", String(64), nullable=False, index=True),
    Column("count", Integer, nullable=False),
    _time("last_at", index=True),
)

approval = Table(
    "approval",
    metadata,
    # What one person has asked for, and a second one has to agree to before it is done.
    Column("id", String(36), primary_key=True),
    Column("site", String(64), nullable=False),
    # The permission that it needs, of who asks and of who approves.
    Column("act", String(64), nullable=False),
    Column("method", String(8), nullable=False),
    # As in the table of routes, and the values of its parameters.
    Column("route", String(200), nullable=False),
    Column("path", JSON, nullable=False),
    Column("query", JSON, nullable=False),
    Column("body", JSON(none_as_null=True), nullable=True),
    # What it would change, as audit rows say it: [{"act", "thing", "before", "after"}].
    Column("changes", JSON, nullable=False),
    Column("thing", String(128), nullable=False),
    # Why two are needed.
    Column("reason", Text, nullable=False),
    Column("requested_by", String(64), nullable=False),
    Column("via", String(16), nullable=False),
    Column("origin", String(64), nullable=False),
    _time("at"),
    _time("expires_at"),
    Column("state", String(16), nullable=False),
    Column("decided_by", String(64), nullable=True),
    _time("decided_at", nullable=True),
    Column("note", Text, nullable=False),
    # Of what was approved: "done", or the code of the problem.
    Column("outcome", String(64), nullable=False),
    _version(),
    Index(None, "state", "expires_at"),
    Index(None, "requested_by", "id"),
    Index(None, "act", "id"),
    Index(None, "site", "act", "id"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("sites", JSON, nullable=False),
    Column("acts", JSON, nullable=False),
    Column("demo", Boolean, nullable=False),
    Column("created_by", String(64), nullable=False),
    _time("created_at"),
    _time("expires_at"),
    _time("last_used_at", nullable=True),
    _time("revoked_at", nullable=True),
)

fact = Table(
    "fact",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    _time("at", index=True),
    Column("site", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("thing", String(128), nullable=False),
    Column("body", JSON, nullable=False),
    # Never reuse the number of an erased fact: a consumer's cursor would step over the new one.
    sqlite_autoincrement=True,
)

fact_cursor = Table(
    "fact_cursor",
    metadata,
    Column("consumer", String(64), primary_key=True),
    Column("fact", BigInteger, nullable=False),
)

fact_set_aside = Table(
    "fact_set_aside",
    metadata,
    # Facts that a consumer could not work off: kept as they were, with the error.
    Column("consumer", String(64), primary_key=True),
    Column("fact", BigInteger, primary_key=True, autoincrement=False),
    _time("at", index=True),
    Column("site", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("thing", String(128), nullable=False),
    Column("body", JSON, nullable=False),
    Column("error", Text, nullable=False),
    Index(None, "consumer", "at"),
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    _time("expires_at"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    _time("received_at"),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)
