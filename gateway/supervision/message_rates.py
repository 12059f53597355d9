"""A device that sends too much, as an event of the platform: one alarm names it, and ends when it is quiet again."""

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
    """What the rule `system.babbling` looks at; `now` in epoch ms."""
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
    """Kind -> the fields that rules of life safety look at: no change of them is ever left out."""
    found: dict[Kind, set[str]] = {}
    for rule in rules:
        if rule.life_safety:
            found.setdefault(rule.kind, set()).update(inputs_of(rule))
    return found


async def still_babbling(database: Database, ledger: Ledger) -> list[Sender]:
    """Who babbled when the last owner stopped: it has to be seen quiet before the alarm ends.

    What has another code since is seen quiet under the code that the alarm names.
    """
    standing = select(alarm.c.part).where(alarm.c.rule == _RULE, alarm.c.active, alarm_is_open)
    async with database.reading() as connection:
        parts = list(await connection.scalars(standing))
    places = [tuple(part.split(":", 1)) for part in parts]
    return [Sender(site, code, item.kind) for site, code in places if (item := ledger.find(site, code)) is not None]
