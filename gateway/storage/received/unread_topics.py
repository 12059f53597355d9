"""Topics without a reader, kept for the administrator: written by the leader at intervals, read by any process."""

from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from collectors.unread_topics import MOST_TOPICS, UnreadTopic, UnreadTopics
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.tables import unread_topic

KEPT_MS: Final = 7 * 24 * 3600 * 1000
"""A topic without a message for this long is deleted."""
_FORGET: Final = delete(unread_topic).where(unread_topic.c.topic == bindparam("of_topic"))


class UnreadTopicsTable:
    """Writes the topics that were noticed since the last call."""

    def __init__(self, database: Database, noticed: UnreadTopics) -> None:
        self._database = database
        self._noticed = noticed

    async def keep(self, now: int) -> None:
        """Write what has changed, within the limit; `now` in epoch ms. Raises DatabaseTrouble."""
        changed = self._noticed.take_changed()
        if not changed:
            return
        rows = [_as_row(item) for item in changed]
        try:
            async with self._database.transaction() as connection:
                known = await connection.execute(select(unread_topic.c.topic, unread_topic.c.first_at))
                since = {row.topic: row.first_at for row in known}
                for row in rows:
                    row["first_at"] = min(row["first_at"], since.get(row["topic"], row["first_at"]))
                await connection.execute(_FORGET, [{"of_topic": row["topic"]} for row in rows])
                await connection.execute(insert(unread_topic), rows)
                await connection.execute(delete(unread_topic).where(unread_topic.c.last_at < now - KEPT_MS))
                beyond = select(unread_topic.c.topic).order_by(unread_topic.c.last_at.desc()).offset(MOST_TOPICS)
                gone = list(await connection.scalars(beyond.limit(MOST_TOPICS)))
                if gone:
                    await connection.execute(_FORGET, [{"of_topic": topic} for topic in gone])
        except DatabaseTrouble:
            self._noticed.put_back(changed)
            raise


def _as_row(item: UnreadTopic) -> dict[str, Any]:
    """With texts that every database takes: no NUL, no lone surrogates."""
    row = msgspec.structs.asdict(item)
    for name in ("topic", "detail"):
        row[name] = row[name].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return row


async def unread_topics(database: Database) -> list[dict[str, Any]]:
    """Rows, the newest message first; never more than are kept."""
    statement = select(unread_topic).order_by(unread_topic.c.last_at.desc()).limit(MOST_TOPICS)
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]
