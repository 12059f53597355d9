"""Reads the audit from the database: rows in their hashed form, signed days, and the signed beginning."""

import json
from typing import Any, Final

import msgspec
from sqlalchemy import RowMapping, Text, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.audit.chain import BEGINNING, CONTENT, OF_FORM
from gateway.people.audit.head import Identity
from gateway.people.audit.key import Day
from gateway.storage.tables import audit, audit_day, audit_identity

_BODIES: Final = ("before", "after")
COLUMNS: Final = [cast(audit.c[name], Text).label(name) if name in _BODIES else audit.c[name] for name in OF_FORM]
"""The hashed columns; JSON as stored text."""


def content_of(row: RowMapping) -> dict[str, Any]:
    """The hashed content of a sealed row that was read as COLUMNS."""
    if row["form"] is not None:
        return {name: row[name] for name in OF_FORM}
    return {name: _parsed(row[name]) if name in _BODIES else row[name] for name in CONTENT}


def _parsed(text: str | None) -> Any:
    """JSON of a row whose hash is over its parsed content; JSON in another format stays text, and does not match."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:  # manipulated: it must be found, and must not stop the check
        return text
    as_written = value is not None and json.dumps(value) == text  # an empty value is stored as NULL, never as `null`
    return value if as_written else text


async def read_days(connection: AsyncConnection) -> list[Day]:
    """Signed days, oldest first."""
    found = await connection.execute(select(audit_day).order_by(audit_day.c.last, audit_day.c.day))
    return [Day(**row) for row in found.mappings()]


async def newest_day(connection: AsyncConnection) -> Day | None:
    """The newest signed day."""
    newest = select(audit_day).order_by(audit_day.c.day.desc()).limit(1)
    row = (await connection.execute(newest)).mappings().one_or_none()
    return None if row is None else Day(**row)


async def read_identity(connection: AsyncConnection) -> Identity | None:
    """The signed beginning of this database's audit; None if it has not begun, or was removed."""
    row = (await connection.execute(select(audit_identity).limit(1))).mappings().one_or_none()
    return None if row is None else Identity(**row)


class Unsealed(msgspec.Struct, frozen=True):
    """A row that is not in the chain."""

    id: int
    at: int
    seq: int | None
    is_passed: bool
    """Rows with a higher id are sealed."""


async def read_unsealed(connection: AsyncConnection) -> list[Unsealed]:
    """Rows that are not sealed, or have an invalid number."""
    highest = await connection.scalar(select(func.max(audit.c.id)).where(audit.c.seq > 0)) or 0
    outside = or_(audit.c.seq.is_(None), audit.c.seq < 1, audit.c.hash.is_(None))
    rows = await connection.execute(select(audit.c.id, audit.c.at, audit.c.seq).where(outside).order_by(audit.c.id))
    return [Unsealed(row.id, row.at, row.seq, row.id < highest) for row in rows]


async def end_of_chain(connection: AsyncConnection, tip: Day | None) -> tuple[int, str]:
    """Number and hash to continue from: the signed end, unless rows were added after it."""
    statement = select(audit.c.seq, audit.c.hash).where(audit.c.seq.is_not(None)).order_by(audit.c.seq.desc()).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    signed = (0, BEGINNING) if tip is None else (tip.last, tip.hash)
    return signed if row is None or row.seq <= signed[0] else (row.seq, str(row.hash))


async def hash_at(connection: AsyncConnection, seq: int) -> str | None:
    """The hash of a sealed row, None if there is no such row."""
    found = await connection.scalar(select(audit.c.hash).where(audit.c.seq == seq))
    return None if found is None else str(found)
