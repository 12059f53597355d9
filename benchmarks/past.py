"""Fills a database and a history store with a year of past data, as the service would have written it; deterministic.

Alarms are spread evenly. Each is closed: it was raised, acknowledged and returned to normal, its ticket was completed,
and all of that is in journal, audit (chained and signed) and, for the last 30 days, in facts that all consumers have
read. Tests may use it with few alarms.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Table, insert, text

from collectors.timeseries.sqlite.store import SqliteStore
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from gateway.people.audit.chain import BEGINNING, seal
from gateway.people.audit.key import AuditKey, Day
from gateway.people.audit.sealer import day_of
from gateway.storage.database import Database
from gateway.storage.tables import (
    activation,
    alarm,
    audit,
    audit_day,
    consumer_offset,
    event,
    fact,
    journal,
    site,
    ticket,
    ticket_activation,
    ticket_alarm,
)

SITE: Final = "bench"
DAY_MS: Final = 86_400_000
DAYS: Final = 365
PUMPS: Final = 200
PANELS: Final = 20
_FACT_DAYS: Final = 30
_MINUTE_MS: Final = 60_000
_FIRE_EVERY: Final = 20
"""One alarm in this many is of a fire panel, with its event."""
_AT_ONCE: Final = 2_000
"""Alarms in a transaction."""
_CONSUMERS: Final = ("alarms", "tickets", "suppression")
_TABLES: Final = (event, alarm, activation, ticket, ticket_alarm, ticket_activation, journal, audit, fact)
_FACTS: Final = ("alarm.raised", "ticket.opened", "alarm.acknowledged", "alarm.returned", "ticket.changed")
_SAMPLES: Final = 60
"""Readings in one minute of a pump."""
Row = dict[str, Any]


async def fill_database(database: Database, key: AuditKey, alarms: int, end: int, days: int = DAYS) -> None:
    """Write past alarms with all their dependent rows into a migrated, empty database.

    Args:
        database: one in which the service has not run yet.
        key: signs the audit; the one of the data folder in which the service will run.
        alarms: how many.
        end: epoch ms; the last one was closed a day before it.
        days: the period of the alarms.
    """
    chain = _Chain(key)
    numbers: dict[str, int] = defaultdict(int)
    async with database.transaction() as connection:
        name = {"en": SITE, "zh-CN": SITE}
        await connection.execute(insert(site).values(code=SITE, name=name, time_zone="UTC", created_at=end))
    for first in range(0, alarms, _AT_ONCE):
        rows: dict[Table, list[Row]] = {table: [] for table in _TABLES}
        for number in range(first, min(first + _AT_ONCE, alarms)):
            raised_at = end - days * DAY_MS + number * (days - 1) * DAY_MS // alarms
            numbers[day_of(raised_at)] += 1
            for table, row in _one(number, raised_at, numbers[day_of(raised_at)], end):
                rows[table].append(row)
        rows[audit] = chain.add(rows[audit])
        async with database.transaction() as connection:
            for table in filter(rows.get, _TABLES):
                await connection.execute(insert(table), rows[table])
    await _finish(database, chain.days())


async def _finish(database: Database, days: list[Row]) -> None:
    """Signed days, read facts, and the statistics of a database whose tables grew for a year."""
    async with database.transaction() as connection:
        if days:
            await connection.execute(insert(audit_day), days)
        newest = (await connection.execute(text("SELECT coalesce(max(id), 0) FROM fact"))).scalar_one()
        await connection.execute(insert(consumer_offset), [{"consumer": name, "fact": newest} for name in _CONSUMERS])
        await connection.execute(text("ANALYZE"))


def _one(number: int, raised_at: int, of_day: int, end: int) -> Iterator[tuple[Table, Row]]:
    """One alarm and its dependent rows."""
    is_fire = number % _FIRE_EVERY == 0
    kind, rule = ("fire_panel", "fire_panel.fire") if is_fire else ("pump", "pump.bearing_very_hot")
    equipment = f"FP-{number % PANELS}" if is_fire else f"P-{number % PUMPS}"
    part = f"1-{number % 200}" if is_fire else ""
    identity, activated, ticketed = (_identity(raised_at, 3 * number + place) for place in range(3))
    answered_at, returned_at, closed_at = (raised_at + after * _MINUTE_MS for after in (2, 30, 240))
    title = {"en": "Bearing very hot", "zh-CN": "轴承过热"}
    where = {"site": SITE, "equipment": equipment}
    place = {**where, "part": part, "rule": rule, "priority": "critical" if is_fire else "high"}
    if is_fire:
        fields = {"type": "fire", "loop": "1", "address": str(number % 200)}
        yield event, {"digest": f"{number:032x}", **where, "kind": kind, "fields": fields, "quality": 0,
                      "measured_at": raised_at, "received_at": raised_at}  # fmt: skip
    yield alarm, {
        "id": identity, **place, "kind": kind, "title": title, "advice": title, "life_safety": is_fire,
        "latching": False, "state": "normal", "active": False, "raised_at": raised_at, "received_at": raised_at,
        "returned_at": returned_at, "acknowledged_at": answered_at, "acknowledged_by": "p", "closed_at": closed_at,
        "activations": 1, "field": "" if is_fire else "bearing_temperature", "value": None if is_fire else 91.5,
        "unit": "" if is_fire else "°C", "wants_ticket": "emergency" if is_fire else "repair", "playbook": "",
        "suppressions": [], "drill": False, "version": 3,
    }  # fmt: skip
    yield activation, {
        "id": activated, "identity": f"{SITE}/{equipment}/{part}/{rule}/{raised_at}", "alarm": identity, **place,
        "started_at": raised_at, "received_at": raised_at, "ended_at": returned_at, "acknowledged_at": answered_at,
        "disproved": False, "drill": False,
    }  # fmt: skip
    letter = "E" if is_fire else "R"
    name = f"{letter}-{SITE.upper()}-{day_of(raised_at).replace('-', '')}-{of_day:04}"
    yield ticket, {
        "number": name, "id": ticketed, "type": "emergency" if is_fire else "repair", **where, "alarm": identity,
        "title": title, "priority": place["priority"], "state": "closed", "playbook": "", "opened_at": raised_at,
        "closed_at": closed_at, "drill": False, "version": 4,
    }  # fmt: skip
    yield ticket_alarm, {"ticket": name, "alarm": identity, "joined_at": raised_at}
    yield ticket_activation, {"activation": activated, "ticket": name}
    for subject, thing, at, what in (
        ("alarm", identity, raised_at, "raised"), ("alarm", identity, answered_at, "acknowledged"),
        ("alarm", identity, returned_at, "returned"), ("ticket", name, raised_at, "opened"),
        ("ticket", name, answered_at, "acknowledged"), ("ticket", name, closed_at, "closed"),
    ):  # fmt: skip
        yield journal, {"subject": subject, "thing": thing, "at": at, "event": what, "before": "", "after": what,
                        "actor": "p", "note": ""}  # fmt: skip
        yield audit, {"at": at, "site": SITE, "actor": "p", "role": "operator", "via": "web", "origin": "192.0.2.7",
                      "act": f"{subject}.{what}", "thing": thing, "before": None, "after": {"state": what},
                      "cause": ""}  # fmt: skip
    if raised_at > end - _FACT_DAYS * DAY_MS:
        for fact_kind in _FACTS:
            yield fact, {"at": raised_at, "site": SITE, "kind": fact_kind, "thing": identity, "body": {"state": "x"}}


def _identity(at: int, number: int) -> str:
    """Like `gateway.storage.identity.new_id`: the ids sort by time."""
    return str(uuid.UUID(int=at << 80 | 0x7 << 76 | 0x2 << 62 | number))


class _Chain:
    """Audit rows in their places, and the signed statement of each day."""

    def __init__(self, key: AuditKey) -> None:
        self._key = key
        self._last = 0
        self._hash = BEGINNING
        self._days: dict[str, Day] = {}

    def add(self, rows: list[Row]) -> list[Row]:
        """The rows with number and hash, in order of time."""
        rows.sort(key=lambda row: row["at"])
        sealed = seal(rows, self._last, self._hash)
        for row, one in zip(rows, sealed, strict=True):
            self._enter(max(day_of(row["at"]), next(reversed(self._days), "")), one.seq, one.hash, row["at"])
            row.update(seq=one.seq, hash=one.hash)
        return rows

    def _enter(self, day: str, seq: int, digest: str, at: int) -> None:
        before = self._days.get(day)
        first, previous = (seq, self._hash) if before is None else (before.first, before.previous)
        self._days[day] = Day(day, first, seq, previous, digest, at, closed=True, key="")
        self._last, self._hash = seq, digest

    def days(self) -> list[Row]:
        return [msgspec.structs.asdict(self._key.sign(day)) for day in self._days.values()]


async def fill_history(file: Path, readings: int, end: int) -> None:
    """Write readings of pumps, spread over a year, and make their rollups. Some may be missing at the end."""
    store = SqliteStore(file)
    await store.open()
    minutes = max(1, readings // (PUMPS * _SAMPLES))
    for number in range(minutes):
        at = (end - DAYS * DAY_MS + number * (DAYS - 1) * DAY_MS // minutes) // _MINUTE_MS * _MINUTE_MS
        await store.write([_reading(pump, at + second * 1_000) for pump in range(PUMPS) for second in range(_SAMPLES)])
    while await store.roll_up():
        pass
    await store.close()


def _reading(pump: int, at: int) -> Reading:
    topic = Topic(SITE, Kind.PUMP, f"P-{pump}", Channel.TELEMETRY)
    fields = {"bearing_temperature": 50.0 + at // 1_000 % 10, "flow": 12.0 + pump % 7, "running": True}
    return Reading(topic, dict(fields), at, at, at * 1_000_000)


def year_before(now: int) -> int:
    """The end of the past data: the last midnight (UTC) before a moment, both epoch ms."""
    day = datetime.fromtimestamp(now / 1_000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(day.timestamp() * 1_000)
