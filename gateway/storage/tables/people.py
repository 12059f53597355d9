"""Accounts, logins, tokens and requests that wait for a second person."""

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
)

from gateway.storage.tables.columns import metadata, texts, time, version

person = Table(
    "person",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("username", String(64), nullable=False),
    texts("name"),
    # Argon2id with its own salt and costs; null: no login by password.
    Column("password_hash", Text, nullable=True),
    # Set by another person: the page requires a new password.
    Column("password_temporary", Boolean, nullable=False),
    # Sealed with a key that is not in the database: nonce, 160 bits and seal fill the column.
    Column("totp_secret", String(64), nullable=True),
    Column("totp_confirmed", Boolean, nullable=False),
    # The newest time step of an accepted code: no code is valid twice.
    Column("totp_step", BigInteger, nullable=False),
    # Demo accounts have a known password; a real service on the same data rejects them.
    Column("demo", Boolean, nullable=False),
    time("disabled_at", nullable=True),
    time("last_seen_at", nullable=True),
    time("created_at"),
    time("updated_at"),
    version(),
    UniqueConstraint("username", "demo"),
)

role_grant = Table(
    "role_grant",
    metadata,
    Column("person", String(64), ForeignKey("person.id"), primary_key=True),
    # A site's code, or "*" for all.
    Column("site", String(64), primary_key=True),
    Column("role", String(32), primary_key=True),
    time("granted_at"),
)

login = Table(
    "login",
    metadata,
    Column("id", String(36), primary_key=True),
    # SHA-256 of the cookie, in hex: who reads this table cannot log in with it.
    Column("digest", String(64), nullable=False, unique=True),
    # The cookie before the last rotation is good for some seconds more: a page has several requests under way.
    Column("previous_digest", String(64), nullable=True, index=True),
    time("previous_until", nullable=True),
    Column("rotate", Boolean, nullable=False),
    Column("person", String(64), ForeignKey("person.id"), nullable=False, index=True),
    Column("origin", String(64), nullable=False),
    Column("agent", String(200), nullable=False),
    time("created_at"),
    time("last_used_at"),
)

known_device = Table(
    "known_device",
    metadata,
    # A browser in which this person has logged in before: a stranger's guesses do not slow it.
    Column("digest", String(64), primary_key=True),
    Column("person", String(64), ForeignKey("person.id"), primary_key=True, index=True),
    time("last_used_at"),
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
    # Throttling of password guesses, shared by all services. Digests: people type passwords where the name belongs.
    Column("digest", String(64), primary_key=True),
    # Of the user name, where it is counted by one.
    Column("account", String(64), nullable=False, index=True),
    Column("count", Integer, nullable=False),
    time("last_at", index=True),
)

approval = Table(
    "approval",
    metadata,
    # A request that a second person has to approve before it is carried out.
    Column("id", String(36), primary_key=True),
    Column("site", String(64), nullable=False),
    # The permission that the requester and the approver need.
    Column("act", String(64), nullable=False),
    Column("method", String(8), nullable=False),
    # As in the table of routes, and the values of its parameters.
    Column("route", String(200), nullable=False),
    Column("path", JSON, nullable=False),
    Column("query", JSON, nullable=False),
    Column("body", JSON(none_as_null=True), nullable=True),
    # What it would change, in the form of audit rows: [{"act", "thing", "before", "after"}].
    Column("changes", JSON, nullable=False),
    Column("thing", String(128), nullable=False),
    # Why two are needed.
    Column("reason", Text, nullable=False),
    Column("requested_by", String(64), nullable=False),
    Column("via", String(16), nullable=False),
    Column("origin", String(64), nullable=False),
    time("at"),
    time("expires_at"),
    Column("state", String(16), nullable=False),
    Column("decided_by", String(64), nullable=True),
    time("decided_at", nullable=True, index=True),
    Column("note", Text, nullable=False),
    # Of what was approved: "done", or the code of the problem.
    Column("outcome", String(64), nullable=False),
    version(),
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
    Column("permissions", JSON, nullable=False),
    Column("demo", Boolean, nullable=False),
    Column("created_by", String(64), nullable=False),
    time("created_at"),
    time("expires_at"),
    time("last_used_at", nullable=True),
    time("revoked_at", nullable=True),
)
