"""Sites and equipment: what there is. Equipment that is heard but not known is kept until someone adopts it."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.reading import Reading
from collectors.topics import Topic
from gateway.people.audit import Cause, Via, audited, write_records
from gateway.storage.database import Database, DatabaseTrouble
from gateway.storage.facts import NewFact, write_facts
from gateway.storage.tables import equipment, site

log = structlog.get_logger(__name__)

Who = tuple[str, str]
"""(site, code)."""


class Site(msgspec.Struct, frozen=True):
    """An estate. `name` in both languages; `time_zone` an IANA name, by which its days are counted."""

    code: str
    name: dict[str, str]
    time_zone: str


class Equipment(msgspec.Struct, frozen=True):
    """One thing that is watched. `adopted` is false while nobody has said that it belongs here."""

    site: str
    code: str
    kind: str
    name: dict[str, str]
    place: dict[str, str] = msgspec.field(default_factory=lambda: {"en": "", "zh-CN": ""})
    adopted: bool = True
    version: int = 1

    @property
    def id(self) -> str:
        """`{site}:{code}`."""
        return f"{self.site}:{self.code}"


class Ledger:
    """The ledger, held in memory and kept in the database."""

    def __init__(self, database: Database, unknown_limit: int, time_zone: str) -> None:
        self.sites: dict[str, Site] = {}
        self.equipment: dict[Who, Equipment] = {}
        self.turned_away = 0
        """Messages of unknown equipment beyond the limit: their alarms are judged, the equipment is not listed."""
        self._database = database
        self._unknown_limit = unknown_limit
        self._time_zone = time_zone
        self._unknown = 0

    async def load(self) -> None:
        async with self._database.reading() as connection:
            sites = (await connection.execute(select(site.c.code, site.c.name, site.c.time_zone))).all()
            rows = (await connection.execute(select(equipment))).mappings().all()
        self.sites = {code: Site(code, name, zone) for code, name, zone in sites}
        self.equipment = {
            (row["site"], row["code"]): Equipment(**{name: row[name] for name in Equipment.__struct_fields__})
            for row in rows
        }
        self._unknown = sum(not item.adopted for item in self.equipment.values())

    async def enter(self, places: Iterable[Site], items: Sequence[Equipment], cause: Cause, now: int) -> None:
        """Enter sites and equipment, replacing what is known of them."""
        entered = list(places)
        async with self._database.transaction() as connection:
            for place in entered:
                await _write_site(connection, place, now)
            for item in items:
                await self._write(connection, item, cause, now)
        for place in entered:  # only now: what was rolled back is not known
            self.sites[place.code] = place
        for item in items:
            self.equipment[item.site, item.code] = item
        self._unknown = sum(not item.adopted for item in self.equipment.values())

    async def meet(self, readings: Iterable[Reading], now: int) -> None:
        """Take note of equipment that is heard for the first time, up to the limit."""
        known = self.equipment
        strangers: dict[Who, Topic] = {}
        for reading in readings:
            topic = reading.topic
            if (topic.site, topic.equipment) not in known:
                strangers[topic.site, topic.equipment] = topic
        if not strangers:
            return
        admitted = list(strangers.values())[: max(0, self._unknown_limit - self._unknown)]
        self.turned_away += len(strangers) - len(admitted)
        if not admitted:
            return
        try:
            await self._admit(admitted, now)
        except DatabaseTrouble as error:  # the next message of the equipment tries again
            log.warning("unknown equipment is not listed yet", why=str(error))

    async def _admit(self, topics: list[Topic], now: int) -> None:
        codes = {topic.site for topic in topics} - set(self.sites)
        sites = [Site(code, {"en": code, "zh-CN": code}, self._time_zone) for code in codes]
        items = [
            Equipment(
                topic.site, topic.equipment, topic.kind.value, {"en": topic.equipment, "zh-CN": topic.equipment},
                adopted=False,
            )
            for topic in topics
        ]  # fmt: skip
        await self.enter(sites, items, Cause("system:ledger", Via.READING), now)
        log.info("unknown equipment heard", equipment=[item.id for item in items])

    async def _write(self, connection: AsyncConnection, item: Equipment, cause: Cause, now: int) -> None:
        before = self.equipment.get((item.site, item.code))
        row = msgspec.structs.asdict(item)
        if before is None:
            await connection.execute(insert(equipment).values(**row, created_at=now))
        else:
            await connection.execute(
                update(equipment).where(equipment.c.site == item.site, equipment.c.code == item.code).values(**row)
            )
        old: dict[str, Any] | None = None if before is None else msgspec.structs.asdict(before)
        await write_records(connection, [], [audited(now, item.site, cause, "equipment.enter", item.id, old, row)])
        await write_facts(connection, [NewFact(now, item.site, "equipment.entered", item.id)])


async def _write_site(connection: AsyncConnection, place: Site, now: int) -> None:
    row = msgspec.structs.asdict(place)
    changed = await connection.execute(update(site).where(site.c.code == place.code).values(**row))
    if changed.rowcount == 0:
        await connection.execute(insert(site).values(**row, created_at=now))
