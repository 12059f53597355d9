"""A device that sends too many messages, as an event of the platform: one alarm names it and ends afterwards."""

import hashlib
from collections.abc import Iterable
from typing import Final

from sqlalchemy import select

from collectors.babbling import Babble, Sender
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.rules.rule import Rule, inputs_of
from gateway.equipment.ledger import PLATFORM, Ledger
from gateway.storage.database import Database
from gateway.storage.tables import alarm, alarm_is_open

_RULE: Final = "system.babbling"
_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, "gengfu", Channel.EVENT)


def event_of(babble: Babble, now: int) -> Reading:
    """The event that the rule `system.babbling` evaluates; `now` in epoch ms."""
    who = babble.who
    digest = hashlib.blake2b(f"{who}{babble.began}{now}".encode(), digest_size=16).hexdigest()
    fields: dict[str, Value] = {
        "type": "babbling",
        "active": babble.began,
        "equipment": f"{who.site}:{who.equipment}",
        "text": f"{babble.rate} messages a second",
    }
    return Reading(_TOPIC, fields, now, now, now * 1_000_000, digest=digest)


def protected_fields(rules: Iterable[Rule]) -> dict[Kind, set[str]]:
    """Kind -> the fields that life-safety rules evaluate: no change of them is ever dropped."""
    found: dict[Kind, set[str]] = {}
    for rule in rules:
        if rule.life_safety:
            found.setdefault(rule.kind, set()).update(inputs_of(rule))
    return found


async def still_babbling(database: Database, ledger: Ledger) -> list[Sender]:
    """Devices that were babbling when the previous leader stopped; they must be quiet before the alarm ends.

    A device that has been renamed since is tracked under the code that the alarm names.
    """
    standing = select(alarm.c.part).where(alarm.c.rule == _RULE, alarm.c.active, alarm_is_open)
    async with database.reading() as connection:
        parts = list(await connection.scalars(standing))
    places = [tuple(part.split(":", 1)) for part in parts]
    return [Sender(site, code, item.kind) for site, code in places if (item := ledger.find(site, code)) is not None]
