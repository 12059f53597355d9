"""Repair and emergency tickets, with what they gather."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
)

from gateway.storage.tables.columns import drill, metadata, partial, texts, time, version

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
    texts("title"),
    Column("priority", String(16), nullable=False),
    Column("state", String(32), nullable=False),
    Column("playbook", String(64), nullable=False),
    time("opened_at", index=True),
    # Null while the ticket is open: what is open is found by it (`ticket_is_open`).
    time("closed_at", nullable=True, index=True),
    drill(),
    version(),
    partial("ix_ticket_open_id", "id", where="closed_at IS NULL"),
    # What is over, by the state in which it ended: a ticket enters these once, not with each step of its life.
    partial("ix_ticket_over_state_id", "state", "id", where="closed_at IS NOT NULL"),
    partial("ix_ticket_over_site_state_id", "site", "state", "id", where="closed_at IS NOT NULL"),
    partial(
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
    time("joined_at"),
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
    # Whether a photo has kept its position, on request.
    Column("position", Boolean, nullable=False),
    Column("person", String(64), nullable=False),
    time("at"),
)
