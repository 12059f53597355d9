"""Messages that could not be read: kept for the administrator, the newest of them, within a limit of rows and bytes."""

import asyncio
from collections import Counter as Counting
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import bindparam, func, insert, select

from collectors.message_reader import Quarantined
from collectors.payloads.faults import Reason
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.queries.chunked_writes import delete_in_chunks
from gateway.storage.tables import quarantine
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

KEPT: Final = 10_000
"""Rows."""
KEPT_OF_TOPIC: Final = 50
"""Rows a minute of one topic; what is beyond them is only counted."""
KEPT_OF_MINUTE: Final = 2_000
"""Rows a minute of all topics."""
KEPT_OF_MINUTE_ON_A_SHORT_DISK: Final = 30
"""Rows a minute of all topics while history is stopped: at most 240 KiB a minute of what is left for alarms."""
KEPT_BYTES: Final = 32 * 1024 * 1024
"""Of payloads, topics and details together (text counted by characters)."""
_MEASURED_EVERY: Final = 1024 * 1024
"""Bytes that may come before the rest is measured again."""
_RETRY_S: Final = 0.5


class Quarantine:
    """Stores quarantined messages, and deletes the oldest beyond the limits."""

    def __init__(
        self, database: Database, registry: CollectorRegistry, is_disk_short: Callable[[], bool] = lambda: False
    ) -> None:
        self._database = database
        self._is_disk_short = is_disk_short
        self._forgotten = Counter(
            "gengfu_quarantine_evicted", "Entries of the quarantine that made room for newer ones", registry=registry
        )
        self._left_out = Counter(
            "gengfu_quarantine_dropped",
            "Quarantined messages over the limit of a minute, not kept",
            registry=registry,
        )
        self._minute = 0
        self._kept_of: Counting[str] = Counting()
        """Entries of this minute, by topic."""
        self._unmeasured = _MEASURED_EVERY  # so that the first time all is measured

    async def keep(self, messages: Sequence[Quarantined]) -> None:
        """Keep messages; count the oldest, which make room for them. Waits while the database is in trouble."""
        kept = [message for message in messages if self._has_room(message)]
        self._left_out.inc(len(messages) - len(kept))
        if not kept:
            return
        self._unmeasured += sum(_size(message) for message in kept)
        await self._insert([_as_row(message) for message in kept])
        try:
            self._forgotten.inc(await self._make_room())
        except DatabaseTrouble as error:  # these are kept: the next one makes room for itself and for them
            log.warning(
                "the oldest messages in quarantine are not removed now", why=in_plain_words(error), detail=str(error)
            )

    async def _insert(self, rows: list[dict[str, Any]]) -> None:
        while True:
            try:
                async with self._database.transaction() as connection:
                    await connection.execute(insert(quarantine), rows)
            except DatabaseTrouble as error:
                log.error(
                    "quarantine waits: the database does not take it", why=in_plain_words(error), detail=str(error)
                )
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _has_room(self, message: Quarantined) -> bool:
        """One device must not push out what all others left, nor fill the disk while alarms wait to be written."""
        minute = message.received_at // 60_000
        if minute != self._minute:
            self._minute = minute
            self._kept_of.clear()
        if self._kept_of[message.topic] >= KEPT_OF_TOPIC or self._kept_of.total() >= self._most_of_minute():
            return False
        self._kept_of[message.topic] += 1
        return True

    def _most_of_minute(self) -> int:
        return KEPT_OF_MINUTE_ON_A_SHORT_DISK if self._is_disk_short() else KEPT_OF_MINUTE

    async def _make_room(self) -> int:
        """Remove the oldest beyond the limits; how many rows."""
        is_measured = self._unmeasured >= _MEASURED_EVERY  # it looks at every row: not each time
        async with self._database.reading() as connection:
            last = (await connection.scalar(select(func.max(quarantine.c.id))) or 0) - KEPT
            if is_measured:
                last = max(last, await connection.scalar(_LAST_BEYOND_BYTES, {"most": KEPT_BYTES}) or 0)
        removed = await delete_in_chunks(self._database, quarantine, quarantine.c.id <= last)
        if is_measured:
            self._unmeasured = 0
        return removed


def _size(message: Quarantined) -> int:
    return len(message.payload) + len(message.topic) + len(message.detail)


_measured = select(
    quarantine.c.id,
    func.sum(func.length(quarantine.c.payload) + func.length(quarantine.c.topic) + func.length(quarantine.c.detail))
    .over(order_by=quarantine.c.id.desc())
    .label("bytes"),
).subquery()
_LAST_BEYOND_BYTES: Final = select(func.max(_measured.c.id)).where(_measured.c.bytes > bindparam("most"))


def _as_row(message: Quarantined) -> dict[str, Any]:
    """With texts that every database takes: no NUL, no lone surrogates."""
    row = msgspec.structs.asdict(message)
    for name in ("topic", "detail"):
        row[name] = row[name].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return row


async def newest_quarantined(
    database: Database, before: int | None, limit: int, sites: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Rows, newest first; those before the id `before` where it is given; with `sites` only those of these sites."""
    statement = select(quarantine).order_by(quarantine.c.id.desc()).limit(limit)
    if sites is not None:
        statement = statement.where(quarantine.c.site.in_(sites))
    if before is not None:
        statement = statement.where(quarantine.c.id < before)
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]


class SiteSummary(msgspec.Struct, frozen=True):
    """Quarantined messages of one site ("" if unknown): their number and the newest."""

    site: str
    messages: int
    received_at: int
    topic: str
    reason: str


async def summary_since(database: Database, since: int, sites: Collection[str] | None = None) -> list[SiteSummary]:
    """One entry for each site with something in quarantine since a time (epoch ms); the site with the newest first."""
    counted = select(
        quarantine.c.site, func.count().label("messages"), func.max(quarantine.c.id).label("newest")
    ).where(quarantine.c.received_at >= since, quarantine.c.reason.not_in(_NO_LOSS))
    if sites is not None:
        counted = counted.where(quarantine.c.site.in_([*sites, ""]))
    each = counted.group_by(quarantine.c.site).subquery()
    statement = (
        select(
            each.c.site, each.c.messages, quarantine.c.received_at, quarantine.c.topic, quarantine.c.reason
        )
        .join(quarantine, quarantine.c.id == each.c.newest)
        .order_by(each.c.newest.desc())
    )  # fmt: skip
    async with database.reading() as connection:
        return [SiteSummary(*row) for row in await connection.execute(statement)]


_NO_LOSS: Final = (Reason.LEFT_OUT.value,)
"""Reasons with which nothing of a message that has a place here was lost."""
