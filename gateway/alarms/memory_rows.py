"""Rows of rule memories: pending delays and counts, so that they continue after a restart."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import Key
from gateway.alarms.rules.rule import FRESH, Memory
from gateway.storage.database import Database
from gateway.storage.tables import rule_memory


async def recorded_memory(database: Database, key: Key) -> Memory:
    """The memory of a key, as last committed."""
    where = [rule_memory.c[name] == value for name, value in key._asdict().items()]
    async with database.reading() as connection:
        body = await connection.scalar(select(rule_memory.c.body).where(*where))
    return FRESH if body is None else msgspec.convert(body, Memory)


async def keep_memories(connection: AsyncConnection, memories: Mapping[Key, Memory]) -> None:
    """Replace the memories of these keys."""
    if not memories:
        return
    await forget_memories_of(connection, list(memories))
    kept = {key: memory for key, memory in memories.items() if memory != FRESH}
    rows = [{**key._asdict(), "body": msgspec.to_builtins(memory)} for key, memory in kept.items()]
    if rows:
        await connection.execute(insert(rule_memory), rows)


async def forget_memories_of(connection: AsyncConnection, keys: Sequence[Key]) -> None:
    """Delete the memories of these keys."""
    if keys:
        where = [rule_memory.c[name] == bindparam(f"of_{name}") for name in Key._fields]
        rows = [{f"of_{name}": value for name, value in key._asdict().items()} for key in keys]
        await connection.execute(delete(rule_memory).where(*where), rows)
