"""Notices on equipment for the administrator, as events of the platform: each is active until it is over.

Two kinds send one code, or retired equipment still sends: its messages are kept and counted, and only their life-safety
signals are judged.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import select

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.equipment.ledger import PLATFORM, Equipment, LastMessage, Who
from gateway.storage.database import Database
from gateway.storage.tables import alarm, alarm_is_open

TWO_KINDS: Final = "two_kinds"
RETIRED_SPEAKS: Final = "retired_speaks"
QUIET_MS: Final = 24 * 3_600_000
"""Retired equipment that has sent nothing for a day counts as off: a working device reports daily."""
_RULES: Final = {f"system.{kind}": kind for kind in (TWO_KINDS, RETIRED_SPEAKS)}
_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, "gengfu", Channel.EVENT)


class Notice(NamedTuple):
    """The type of a notice, and its equipment as `{site}:{code}`."""

    what: str
    equipment: str


class EquipmentNotices:
    """Reports new notices, and ends those that are over."""

    def __init__(self, standing: Collection[Notice] = ()) -> None:
        self._standing = set(standing)

    def look(self, items: Iterable[Equipment], messages: Mapping[Who, LastMessage], now: int) -> list[Reading]:
        """Events for what has changed since the last look; `now` in epoch ms."""
        found = notices_of(items, messages, now)
        over = self._standing - found.keys()
        news = found.keys() - self._standing
        self._standing = set(found)
        return [_event(one, "", now, active=False) for one in sorted(over)] + [
            _event(one, found[one], now, active=True) for one in sorted(news)
        ]


def notices_of(items: Iterable[Equipment], messages: Mapping[Who, LastMessage], now: int) -> dict[Notice, str]:
    """All current notices with their texts. Pure."""
    found: dict[Notice, str] = {}
    for item in items:
        if item.retired_at is None and item.shares_code:
            text = f"{item.kind} {item.id} sends the code of another kind"
            found[Notice(TWO_KINDS, f"{item.site}:{item.shares_code}")] = text
        last = messages.get((item.site, item.code)) if item.retired_at is not None else None
        if last is not None and now - last.received_at < QUIET_MS:
            found[Notice(RETIRED_SPEAKS, item.id)] = f"{last.count} messages since, last on {last.topic}"
    return found


async def standing_notices(database: Database) -> set[Notice]:
    """The notices reported before the start that are not over."""
    statement = select(alarm.c.rule, alarm.c.part).where(alarm.c.rule.in_(_RULES), alarm.c.active, alarm_is_open)
    async with database.reading() as connection:
        return {Notice(_RULES[row.rule], row.part) for row in await connection.execute(statement)}


def _event(notice: Notice, text: str, now: int, *, active: bool) -> Reading:
    digest = hashlib.blake2b(f"{notice}{active}{now}".encode(), digest_size=16).hexdigest()
    fields: dict[str, Value] = {"type": notice.what, "active": active, "equipment": notice.equipment, "text": text}
    return Reading(_TOPIC, fields, now, now, now * 1_000_000, digest=digest)
