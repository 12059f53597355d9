"""What happened and who did it: the journal, and the sealed audit."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    SmallInteger,
    String,
    Table,
    Text,
)

from gateway.storage.tables.columns import RowId, metadata, partial, time

journal = Table(
    "journal",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("subject", String(16), nullable=False),
    Column("thing", String(100), nullable=False),
    time("at"),
    Column("event", String(32), nullable=False),
    Column("before", String(32), nullable=False),
    Column("after", String(32), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Index(None, "subject", "thing", "id"),
    partial("ix_journal_annunciated", "thing", "at", where="event = 'annunciated'"),
    partial("ix_journal_re_alarmed", "at", where="event = 're_alarmed'"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    time("at"),
    Column("site", String(64), nullable=False),
    Column("actor", String(64), nullable=False),
    # Held on this site when it was done, joined by commas; empty for components of the service.
    Column("role", Text, nullable=False, server_default=""),
    Column("via", String(16), nullable=False),
    Column("origin", String(64), nullable=False),
    Column("act", String(64), nullable=False),
    Column("thing", String(128), nullable=False),
    Column("before", JSON(none_as_null=True), nullable=True),
    Column("after", JSON(none_as_null=True), nullable=True),
    Column("cause", String(128), nullable=False),
    # Place in the chain and its hash; null until the sealer has run, within a second.
    Column("seq", BigInteger, nullable=True, unique=True),
    Column("hash", String(64), nullable=True),
    # What the hash is over (docs/audit.md); null of rows that were sealed before there was a choice.
    Column("form", SmallInteger, nullable=True),
    # One index for each filter, newest first, with or without a period (docs/audit.md has the figures).
    partial("ix_audit_unsealed_id", "id", where="seq IS NULL"),
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
    time("at"),
    Column("closed", Boolean, nullable=False),
    Column("key", String(16), nullable=False),
    Column("signature", String(128), nullable=False),
)

audit_identity = Table(
    "audit_identity",
    metadata,
    # One row: the signed statement with which the audit of this database began.
    Column("database", String(36), primary_key=True),
    time("at"),
    Column("last", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("key", String(16), nullable=False),
    Column("signature", String(128), nullable=False),
)
