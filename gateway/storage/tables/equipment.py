"""Sites and their equipment, and what feeds or carries what."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from gateway.storage.tables.columns import metadata, texts, time, version

site = Table(
    "site",
    metadata,
    Column("code", String(64), primary_key=True),
    texts("name"),
    Column("time_zone", String(64), nullable=False),
    time("created_at"),
    Column("version", Integer, nullable=False, server_default="1"),
)

equipment = Table(
    "equipment",
    metadata,
    Column("site", String(64), ForeignKey("site.code"), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    texts("name"),
    texts("place"),
    Column("adopted", Boolean, nullable=False),
    # Null while it is in use. Its row stays: history, alarms and tickets name it.
    time("retired_at", nullable=True),
    # Codes on the same site, "" for none.
    Column("replaced_by", String(64), nullable=False, server_default=""),
    Column("replaces", String(64), nullable=False, server_default=""),
    # Codes and kinds under which it was known before; messages under a former code are assigned to it.
    Column("former_codes", JSON, nullable=False, server_default="[]"),
    Column("former_kinds", JSON, nullable=False, server_default="[]"),
    # The code that it sends, where equipment of another kind had that code first; "" for none.
    Column("shares_code", String(64), nullable=False, server_default=""),
    time("created_at"),
    version(),
)

last_message = Table(
    "last_message",
    metadata,
    # Of equipment that is not adopted, and of retired equipment that still sends. Erased when it is adopted.
    Column("site", String(64), primary_key=True),
    Column("equipment", String(64), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    time("received_at"),
    # How many messages have come since it is kept.
    Column("count", Integer, nullable=False, server_default="1"),
)

equipment_link = Table(
    "equipment_link",
    metadata,
    # What feeds or carries what: "power" or "network".
    Column("site", String(64), primary_key=True),
    Column("child", String(64), primary_key=True),
    Column("parent", String(64), primary_key=True),
    Column("relation", String(16), primary_key=True),
    time("created_at"),
)
