"""Sites and equipment: what there is. Equipment that is heard but not known is kept until someone adopts it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import ColumnElement, Delete, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.mqtt.message import Message
from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from gateway.equipment.links import Links
from gateway.people.audit.entry import Cause, Via, audited, write_records
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.outbox.outbox import NewFact, write_facts
from gateway.storage.tables import equipment, last_message, site
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

PLATFORM: Final = "platform"
"""The site under which the service itself stands."""

_MESSAGES_AT_ONCE: Final = 200
"""Last messages a transaction: alarms wait for the writer no longer than for that."""
_KEY: Final = ("site", "equipment")
_FORGET_MESSAGE: Final = delete(last_message).where(
    last_message.c.site == bindparam("of_site"), last_message.c.equipment == bindparam("of_equipment")
)
MESSAGE_BYTES: Final = 1024
"""What is kept of the last message of unknown equipment: with 1,000 of them 1 MB."""

_LONGEST_ID: Final = 128
"""Letters of `{site}:{code}` that facts and audit have room for; PostgreSQL does not take one more."""
_KEYS_AT_ONCE: Final = 400
"""Pairs in one IN list: SQLite limits the values in it."""

Who = tuple[str, str]
"""(site, code)."""


class Site(msgspec.Struct, frozen=True):
    """An estate. `name` in both languages; `time_zone` an IANA name, by which its days are counted."""

    code: str
    name: dict[str, str]
    time_zone: str
    version: int = 1


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


class LastMessage(msgspec.Struct, frozen=True):
    """What unknown equipment sent last, as it sent it: the topic, and the first 1 KiB of the payload."""

    topic: str
    payload: bytes
    size: int
    received_at: int


class Adoption(msgspec.Struct, frozen=True):
    """What somebody says who adopts equipment. `name` in both languages; what is empty stays as it was."""

    version: int
    name: dict[str, str] = {}
    place: dict[str, str] = {}


class NoSuchEquipment(Exception):
    """There is none of this code on this site."""


class AlreadyAdopted(Exception):
    """Somebody has adopted it before."""


class StaleEquipment(Exception):
    """It has changed since whoever acts looked at it."""


class Ledger:
    """The ledger, held in memory and kept in the database."""

    def __init__(self, database: Database, unknown_limit: int, time_zone: str) -> None:
        self.sites: dict[str, Site] = {}
        self.equipment: dict[Who, Equipment] = {}
        self.links = Links(database)
        self.turned_away = 0
        """Messages of unknown equipment beyond the limit: their alarms are judged, the equipment is not listed."""
        self._database = database
        self._unknown_limit = unknown_limit
        self._time_zone = time_zone
        self._unknown = 0
        self.last_messages: dict[Who, LastMessage] = {}
        """Of equipment that is listed and not adopted."""
        self._heard: dict[Who, LastMessage] = {}
        """Newer than what the database has; of strangers that are not listed, at most as many as the limit."""

    async def load(self) -> None:
        """Read everything anew."""
        async with self._database.reading() as connection:
            sites = await _sites(connection)
            items = await _equipment(connection)
        self.sites, self.equipment = sites, items
        self._count_unknown()
        await self.links.load()
        await self.load_last_messages()

    async def learn(self, identities: Iterable[str]) -> None:
        """Read these (`{site}:{code}`) anew, the sites and their links: another process may have changed them."""
        wanted = sorted(tuple(identity.split(":", 1)) for identity in set(identities))
        async with self._database.reading() as connection:
            sites = await _sites(connection)
            items: dict[Who, Equipment] = {}
            for first in range(0, len(wanted), _KEYS_AT_ONCE):
                keys = tuple_(equipment.c.site, equipment.c.code).in_(wanted[first : first + _KEYS_AT_ONCE])
                items |= await _equipment(connection, keys)
        self.sites |= sites
        self.equipment |= items
        for who, item in items.items():
            if item.adopted:
                self.last_messages.pop(who, None)
                self._heard.pop(who, None)
        self._count_unknown()
        await self.links.learn({place for place, _ in wanted})

    async def load_last_messages(self) -> None:
        """Read the last messages of unknown equipment anew, as another process has heard them."""
        async with self._database.reading() as connection:
            messages = (await connection.execute(select(last_message))).mappings().all()
        self.last_messages = {
            (row["site"], row["equipment"]): LastMessage(**{name: row[name] for name in LastMessage.__struct_fields__})
            for row in messages
        }

    def is_adopted(self, site: str, code: str) -> bool:
        """Whether somebody has said that it belongs here; the platform and what is its own always do."""
        item = self.equipment.get((site, code))
        return site == PLATFORM if item is None else item.adopted

    def _count_unknown(self) -> None:
        self._unknown = sum(not item.adopted for item in self.equipment.values())

    def hear(self, message: Message, readings: Sequence[Reading]) -> None:
        """Take note of a message, where its equipment is unknown. Quick: every message comes by here."""
        whom = None
        for reading in readings:
            topic = reading.topic
            if topic is whom:
                continue  # the samples of one array
            whom = topic
            who = topic.site, topic.equipment
            item = self.equipment.get(who)
            if item is not None and item.adopted:
                continue
            if item is not None or who in self._heard or len(self._heard) < self._unknown_limit:
                self._heard[who] = LastMessage(
                    message.topic,
                    message.payload[:MESSAGE_BYTES],
                    len(message.payload),
                    message.received_ns // 1_000_000,
                )
                if item is not None:
                    self.last_messages[who] = self._heard[who]

    async def keep_last_messages(self) -> None:
        """Write what was heard since the last time; the newest message of each is enough."""
        heard, self._heard = self._heard, {}
        listed = {who: last for who, last in heard.items() if who in self.equipment and not self.equipment[who].adopted}
        if not listed:
            return
        self.last_messages |= listed
        rows = [{"site": who[0], "equipment": who[1], **msgspec.structs.asdict(last)} for who, last in listed.items()]
        try:
            for first in range(0, len(rows), _MESSAGES_AT_ONCE):
                await self._replace_messages(rows[first : first + _MESSAGES_AT_ONCE])
        except DatabaseTrouble:
            self._heard = listed | self._heard
            raise

    async def _replace_messages(self, rows: list[dict[str, Any]]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_FORGET_MESSAGE, [{f"of_{name}": row[name] for name in _KEY} for row in rows])
            await connection.execute(insert(last_message), rows)

    async def adopt(self, who: Who, wanted: Adoption, cause: Cause, now: int) -> Equipment:
        """Say that unknown equipment belongs here, and what it is called.

        Raises:
            NoSuchEquipment: there is none of this code.
            AlreadyAdopted: it was adopted before.
            StaleEquipment: its version is another one.
        """
        item = self.equipment.get(who)
        if item is None:
            raise NoSuchEquipment(f"{who[0]}:{who[1]}")
        if item.adopted:
            raise AlreadyAdopted(f"{item.id} is adopted already")
        if item.version != wanted.version:
            raise StaleEquipment(f"{item.id} is at version {item.version}")
        adopted = msgspec.structs.replace(
            item,
            adopted=True,
            version=item.version + 1,
            name=wanted.name or item.name,
            place=wanted.place or item.place,
        )
        row = msgspec.structs.asdict(adopted)
        async with self._database.transaction() as connection:
            changed = await connection.execute(
                update(equipment)
                .where(equipment.c.site == who[0], equipment.c.code == who[1], equipment.c.version == wanted.version)
                .values(**row)
            )
            if changed.rowcount == 0:
                raise StaleEquipment(f"{item.id} has changed since it was looked at")
            await connection.execute(_of(delete(last_message), *who))
            before = msgspec.structs.asdict(item)
            record = audited(now, item.site, cause, "equipment.adopt", item.id, before, row)
            await write_records(connection, [], [record])
            await write_facts(connection, [NewFact(now, item.site, "equipment.adopted", item.id)])
        self.equipment[who] = adopted
        self.last_messages.pop(who, None)
        self._heard.pop(who, None)
        self._count_unknown()
        return adopted

    async def enter(self, places: Iterable[Site], items: Sequence[Equipment], cause: Cause, now: int) -> None:
        """Enter sites and equipment, replacing what is known of them."""
        entered = list(places)
        async with self._database.transaction() as connection:
            for place in entered:
                await _write_site(connection, place, now)
            for item in items:
                await self._write(connection, item, cause, now)
        for place in entered:  # only now: what was rolled back is not known
            known = self.sites.get(place.code, place)
            self.sites[place.code] = msgspec.structs.replace(place, version=known.version)
        for item in items:
            self.equipment[item.site, item.code] = item
        self._count_unknown()

    async def meet(self, readings: Iterable[Reading], now: int) -> None:
        """Take note of equipment that is heard for the first time, up to the limit."""
        known = self.equipment
        strangers: dict[Who, Reading] = {}
        for reading in readings:
            topic = reading.topic
            if (topic.site, topic.equipment) not in known and topic.kind is not Kind.SYSTEM:
                strangers[topic.site, topic.equipment] = reading
        if not strangers:
            return
        listable = [reading for who, reading in strangers.items() if len(":".join(who)) <= _LONGEST_ID]
        admitted = listable[: max(0, self._unknown_limit - self._unknown)]
        self.turned_away += len(strangers) - len(admitted)
        if not admitted:
            return
        try:
            await self._admit(admitted, now)
        except DatabaseTrouble as error:  # the next message of the equipment tries again
            log.warning("unknown equipment is not listed yet", why=in_plain_words(error), detail=str(error))

    async def _admit(self, heard: list[Reading], now: int) -> None:
        await self.learn(f"{item.topic.site}:{item.topic.equipment}" for item in heard)  # somebody else may know them
        heard = [item for item in heard if (item.topic.site, item.topic.equipment) not in self.equipment]
        if not heard:
            return
        names = {item.topic.site: item.site_name or item.topic.site for item in heard}
        sites = [Site(code, _in_both(name), self._time_zone) for code, name in names.items() if code not in self.sites]
        items = [
            Equipment(
                item.topic.site, item.topic.equipment, item.topic.kind.value,
                _in_both(item.equipment_name or item.topic.equipment), adopted=False,
            )
            for item in heard
        ]  # fmt: skip
        await self.enter(sites, items, Cause("system:ledger", Via.READING), now)
        log.info("unknown equipment heard", equipment=[item.id for item in items])

    async def _write(self, connection: AsyncConnection, item: Equipment, cause: Cause, now: int) -> None:
        before = self.equipment.get((item.site, item.code))
        row = msgspec.structs.asdict(item)
        # By what the table says, not our memory: a commit may have come through whose answer was lost on the way.
        changed = await connection.execute(
            update(equipment).where(equipment.c.site == item.site, equipment.c.code == item.code).values(**row)
        )
        if changed.rowcount == 0:
            await connection.execute(insert(equipment).values(**row, created_at=now))
        old: dict[str, Any] | None = None if before is None else msgspec.structs.asdict(before)
        await write_records(connection, [], [audited(now, item.site, cause, "equipment.enter", item.id, old, row)])
        await write_facts(connection, [NewFact(now, item.site, "equipment.entered", item.id)])


def _in_both(name: str) -> dict[str, str]:
    """A name that a device gives itself is the same in both languages."""
    return {"en": name, "zh-CN": name}


async def _sites(connection: AsyncConnection) -> dict[str, Site]:
    rows = await connection.execute(select(site.c.code, site.c.name, site.c.time_zone, site.c.version))
    return {row.code: Site(*row) for row in rows}


async def _equipment(connection: AsyncConnection, where: ColumnElement[bool] | None = None) -> dict[Who, Equipment]:
    statement = select(equipment) if where is None else select(equipment).where(where)
    return {
        (row["site"], row["code"]): Equipment(**{name: row[name] for name in Equipment.__struct_fields__})
        for row in (await connection.execute(statement)).mappings()
    }


def _of(statement: Delete, code: str, of_equipment: str) -> Delete:
    return statement.where(last_message.c.site == code, last_message.c.equipment == of_equipment)


async def _write_site(connection: AsyncConnection, place: Site, now: int) -> None:
    row = msgspec.structs.asdict(place)
    same = {"name": place.name, "time_zone": place.time_zone}  # its version is of those who edit it
    changed = await connection.execute(update(site).where(site.c.code == place.code).values(**same))
    if changed.rowcount == 0:
        await connection.execute(insert(site).values(**row, created_at=now))
