"""Alarms, their activations and rules, what keeps them quiet, and events."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

from gateway.storage.tables.columns import RowId, drill, metadata, partial, texts, time, version

alarm = Table(
    "alarm",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site", String(64), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("part", String(128), nullable=False),
    # Zone in the building, as named by the fire panel; usually the floor.
    Column("zone", String(128), nullable=False, server_default=""),
    Column("rule", String(128), nullable=False),
    # Set while the alarm is open, null afterwards: a unique index prevents a second open one.
    Column("open_key", String(400), nullable=True, unique=True),
    texts("title"),
    texts("advice"),
    Column("priority", String(16), nullable=False),
    Column("life_safety", Boolean, nullable=False),
    Column("latching", Boolean, nullable=False),
    Column("state", String(32), nullable=False),
    Column("active", Boolean, nullable=False),
    time("raised_at"),
    time("received_at"),
    time("returned_at", nullable=True, index=True),
    time("acknowledged_at", nullable=True),
    Column("acknowledged_by", String(64), nullable=True),
    # Null while the alarm is open; open alarms are found by it (`alarm_is_open`).
    time("closed_at", nullable=True, index=True),
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
    time("silenced_at", nullable=True),
    Column("silenced_by", String(64), nullable=True),
    # Milliseconds after the acknowledgement until it re-alarms while active, 0: never.
    Column("re_alarm", BigInteger, nullable=False, server_default="0"),
    # When it re-alarms next, null while it is unacknowledged or over.
    time("re_alarm_at", nullable=True),
    # Activations come so fast that they are damped.
    Column("chattering", Boolean, nullable=False, server_default=false()),
    drill(),
    version(),
    # Lists of all alarms, newest first: one index for each way to narrow them (`gateway.api.alarms.alarms`).
    Index(None, "priority", "id"),
    Index(None, "site", "priority", "id"),
    Index(None, "site", "equipment", "priority", "id"),
    # The newest alarm of a key.
    Index(None, "site", "equipment", "part", "rule", "id"),
    partial("ix_alarm_open_id", "id", where="closed_at IS NULL"),
    partial("ix_alarm_open_rule", "rule", where="closed_at IS NULL"),
    partial("ix_alarm_open_site_equipment", "site", "equipment", where="closed_at IS NULL"),
    partial("ix_alarm_open_re_alarm_at", "re_alarm_at", where="closed_at IS NULL AND re_alarm_at IS NOT NULL"),
)

alarm_is_open: Final = alarm.c.closed_at.is_(None)

"""The condition of every query of open alarms: the partial indexes contain exactly these rows."""

rule_version = Table(
    "rule_version",
    metadata,
    # Changes of a site to a rule, for all its equipment ("") or for one. Every version is kept; the newest applies.
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("rule", String(128), nullable=False),
    Column("site", String(64), nullable=False),
    Column("equipment", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    # All that differs from the rule below it, by the keys of a rule file; none: nothing differs any more.
    Column("changes", JSON, nullable=False),
    # The version that it was rolled back to.
    Column("equals", Integer, nullable=True),
    # Id of the next version at the same place; null for the version that applies.
    Column("superseded_by", BigInteger, nullable=True, index=True),
    Column("person", String(64), nullable=False),
    # Who has agreed, where one person alone may not.
    Column("second_person", String(64), nullable=True),
    time("at"),
    Column("note", Text, nullable=False),
    UniqueConstraint("rule", "site", "equipment", "version"),
    Index(None, "rule", "id"),
    Index(None, "rule", "site", "id"),
    Index(None, "rule", "site", "equipment", "id"),
    # The leader has applied all versions up to a number, which must not be reused.
    sqlite_autoincrement=True,
)

shelf = Table(
    "shelf",
    metadata,
    # Shelved by a person: the alarm of this key, for all its activations.
    Column("site", String(64), primary_key=True),
    Column("equipment", String(64), primary_key=True),
    Column("part", String(128), primary_key=True),
    Column("rule", String(128), primary_key=True),
    time("since"),
    time("until"),
    # Ends early when the condition ends.
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
    time("since"),
    time("planned_end"),
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
    time("starts_at"),
    time("ends_at", index=True),
    Column("person", String(64), nullable=False),
    Column("second_person", String(64), nullable=True),
    Column("reason", Text, nullable=False),
    time("cancelled_at", nullable=True, index=True),
    time("created_at"),
    # "over" or "cancelled", once that is recorded; null while it is on or to come.
    Column("outcome", String(16), nullable=True),
    version(),
    Index(None, "outcome", "id"),
    Index(None, "site", "outcome", "id"),
    Index(None, "site", "equipment", "outcome", "id"),
    partial("ix_maintenance_window_open_id", "id", where="outcome IS NULL"),
)

window_is_open: Final = maintenance_window.c.outcome.is_(None)

"""It is on or to come, or its end is not recorded yet."""

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
    time("started_at", index=True),
    time("received_at"),
    time("ended_at", nullable=True, index=True),
    # Counted while its alarm chattered: it was not annunciated again and gets no ticket.
    Column("damped", Boolean, nullable=False, server_default=false()),
    # By the first acknowledgement of its alarm after it.
    time("acknowledged_at", nullable=True),
    # When it got its ticket or needed none any more; null while a ticket is still due.
    time("ticketed_at", nullable=True),
    Column("value", JSON(none_as_null=True), nullable=True),
    Column("disproved", Boolean, nullable=False, default=False),
    drill(),
    Index(None, "alarm", "id"),
    Index(None, "site", "id"),
    Index(None, "site", "equipment", "id"),
    # An alarm that stays open for long has very many activations; this index has the few that are pending.
    partial("ix_activation_unended_alarm", "alarm", where="ended_at IS NULL"),
    partial("ix_activation_unanswered_alarm", "alarm", "received_at", where="acknowledged_at IS NULL"),
    partial("ix_activation_unticketed_alarm", "alarm", where="ticketed_at IS NULL"),
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
    time("measured_at"),
    time("received_at"),
    # In the order of their arrival, in which events count: one index for each way to narrow the list of them.
    Index(None, "received_at", "digest"),
    Index(None, "kind", "received_at", "digest"),
    Index(None, "site", "received_at", "digest"),
    Index(None, "site", "kind", "received_at", "digest"),
    Index(None, "site", "equipment", "received_at", "digest"),
)
