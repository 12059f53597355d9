"""Facts and their consumers, the lease, and what could not be read."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from gateway.storage.tables.columns import RowId, metadata, time

fact = Table(
    "fact",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    time("at", index=True),
    Column("site", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("thing", String(128), nullable=False),
    Column("body", JSON, nullable=False),
    # Never reuse the number of an erased fact: a consumer's offset would skip the new one.
    sqlite_autoincrement=True,
)

consumer_offset = Table(
    "consumer_offset",
    metadata,
    Column("consumer", String(64), primary_key=True),
    Column("fact", BigInteger, nullable=False),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    # Facts that a consumer could not process: kept unchanged, with the error.
    Column("consumer", String(64), primary_key=True),
    Column("fact", BigInteger, primary_key=True, autoincrement=False, index=True),
    time("at", index=True),
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
    time("expires_at"),
)

quarantine = Table(
    "quarantine", metadata, Column("id", RowId, primary_key=True, autoincrement=True), time("received_at"),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False), Column("size", Integer, nullable=False),
    Column("reason", String(32), nullable=False), Column("detail", Text, nullable=False),
    Column("site", String(64), nullable=False, server_default=""),
    Index("ix_quarantine_received_at", "received_at"), sqlite_autoincrement=True,
)  # fmt: skip

unread_topic = Table(
    "unread_topic", metadata, Column("topic", String(512), primary_key=True),
    Column("reason", String(32), nullable=False), Column("detail", Text, nullable=False), time("first_at"),
    time("last_at"), Column("messages", BigInteger, nullable=False), Column("sample", LargeBinary, nullable=False),
)  # fmt: skip

"""Topics under a subscribed root that no mapping reads; at most 500."""
