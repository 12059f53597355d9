"""A device with a wrong clock, as an event of the platform: one alarm names it until the clock is right."""

import hashlib
from typing import Final

from sqlalchemy import select

from collectors.device_clocks import Doubt, Doubtful, Who
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.equipment.ledger import PLATFORM
from gateway.storage.database import Database
from gateway.storage.tables import alarm

_RULE: Final = "system.device_clock"
_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, "gengfu", Channel.EVENT)
_MINUTE_MS: Final = 60_000


def clock_event(found: Doubtful, now: int) -> Reading:
    """The event for the rule `system.device_clock`; `now` in epoch ms."""
    digest = hashlib.blake2b(f"{found}{now}".encode(), digest_size=16).hexdigest()
    fields: dict[str, Value] = {
        "type": "device_clock",
        "active": found.doubt is not Doubt.NONE,
        "equipment": f"{found.site}:{found.equipment}",
        "text": _text(found),
    }
    return Reading(_TOPIC, fields, now, now, now * 1_000_000, digest=digest)


def _text(found: Doubtful) -> str:
    minutes = round(abs(found.lag_ms) / _MINUTE_MS)
    texts = {
        Doubt.AHEAD: f"{minutes} min ahead",
        Doubt.BEHIND: f"{minutes} min behind",
        Doubt.NEVER_SET: "shows a time before 2000",
    }
    return texts.get(found.doubt, "right again")


async def still_doubtful(database: Database) -> list[Who]:
    """Equipment whose clock was in doubt when the last leader stopped: its alarm ends once the clock is seen right."""
    standing = select(alarm.c.part).where(alarm.c.rule == _RULE, alarm.c.active, alarm.c.open_key.is_not(None))
    async with database.reading() as connection:
        parts = list(await connection.scalars(standing))
    return [(site, code) for site, _, code in (part.partition(":") for part in parts) if code]
