"""The ledger of sites and equipment. Equipment that reports but is unknown is listed until a person adopts it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import ColumnElement, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.mqtt.message import Message
from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from gateway.equipment.addressing import Addresses
from gateway.equipment.estate import Estate, estate_of, former_codes_of
from gateway.equipment.links import Links
from gateway.people.audit.entry import Cause, Via, audited
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.records import NewFact
from gateway.storage.tables import equipment, last_message, site
from gateway.storage.transaction import Transaction
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

PLATFORM: Final = "platform"
"""The site of the service itself."""

_MESSAGES_AT_ONCE: Final = 200
"""Last messages per transaction: limits how long alarms wait for the writer."""
_KEY: Final = ("site", "equipment")
_FORGET_MESSAGE: Final = delete(last_message).where(
    last_message.c.site == bindparam("of_site"), last_message.c.equipment == bindparam("of_equipment")
)
MESSAGE_BYTES: Final = 1024
"""Stored bytes of the last message of unknown equipment: 1 MB for 1,000 of them."""

_PAST: Final = ("retired_at", "replaced_by", "replaces", "former_codes", "former_kinds", "shares_code")
"""Columns that entering equipment again does not change."""
_LONGEST_ID: Final = 128
"""Characters of `{site}:{code}` in facts and audit; PostgreSQL refuses more."""
_KEYS_AT_ONCE: Final = 400
"""Pairs in one IN list; SQLite limits its values."""

Who = tuple[str, str]
"""(site, code)."""


class Site(msgspec.Struct, frozen=True):
    """A site. `name` in both languages; `time_zone` an IANA name, for the days of the site."""

    code: str
    name: dict[str, str]
    time_zone: str
    version: int = 1


class Equipment(msgspec.Struct, frozen=True):
    """One monitored device. `adopted` is false until a person adopts it."""

    site: str
    code: str
    kind: str
    name: dict[str, str]
    place: dict[str, str] = msgspec.field(default_factory=lambda: {"en": "", "zh-CN": ""})
    adopted: bool = True
    version: int = 1
    retired_at: int | None = None
    """Epoch ms; None while it is in use."""
    replaced_by: str = ""
    replaces: str = ""
    former_codes: list[str] = []
    """Former codes, oldest first; messages under them count as its own."""
    former_kinds: list[str] = []
    shares_code: str = ""
    """The code that it sends, if equipment of another kind had that code first."""

    @property
    def in_use(self) -> bool:
        """Whether it is adopted and not retired."""
        return self.adopted and self.retired_at is None

    @property
    def id(self) -> str:
        """`{site}:{code}`."""
        return f"{self.site}:{self.code}"


class LastMessage(msgspec.Struct, frozen=True):
    """The last message of equipment that is not in use: the topic, and the first 1 KiB of the payload."""

    topic: str
    payload: bytes
    size: int
    received_at: int
    count: int = 1
    """Number of messages since the first stored one."""


class Ledger:
    """The ledger, held in memory and kept in the database."""

    def __init__(self, database: Database, unknown_limit: int, time_zone: str) -> None:
        self.sites: dict[str, Site] = {}
        self.equipment: dict[Who, Equipment] = {}
        self.links = Links(database)
        self.estate = Estate()
        """Renamed and retired equipment, for the rules; a new object after each change."""
        self.rejected = 0
        """Messages of unknown equipment beyond the limit: evaluated, but the equipment is not listed."""
        self._database = database
        self._unknown_limit = unknown_limit
        self._time_zone = time_zone
        self._unknown = 0
        self._addresses = Addresses(unknown_limit)
        self._former: dict[Who, str] = {}
        self.last_messages: dict[Who, LastMessage] = {}
        """Of listed equipment that is not in use: not adopted, or retired but still sending."""
        self._received: dict[Who, LastMessage] = {}
        """Newer than in the database; of unknown equipment that is not listed, at most as many as the limit."""

    async def load(self) -> None:
        """Read everything again."""
        async with self._database.reading() as connection:
            sites = await _sites(connection)
            items = await _equipment(connection)
        self.sites, self.equipment = sites, items
        self._note_changes()
        await self.links.load()
        await self.load_last_messages()

    async def learn(self, identities: Iterable[str]) -> None:
        """Read these (`{site}:{code}`), the sites and their links again: another process may have changed them."""
        wanted = sorted(tuple(identity.split(":", 1)) for identity in set(identities))
        async with self._database.reading() as connection:
            sites = await _sites(connection)
            items: dict[Who, Equipment] = {}
            for first in range(0, len(wanted), _KEYS_AT_ONCE):
                keys = tuple_(equipment.c.site, equipment.c.code).in_(wanted[first : first + _KEYS_AT_ONCE])
                items |= await _equipment(connection, keys)
        self.sites |= sites
        self.replace([who for who in wanted if who in self.equipment and who not in items], items.values())
        await self.links.learn({place for place, _ in wanted})

    def replace(self, gone: Iterable[Who], changed: Iterable[Equipment]) -> None:
        """Take over changed rows, and drop removed ones."""
        for who in gone:
            self._forget(who)
        for item in changed:
            for code in item.former_codes:
                self._forget((item.site, code))
            who = item.site, item.code
            before, self.equipment[who] = self.equipment.get(who), item
            if item.in_use or (before is not None and before.in_use):
                self.last_messages.pop(who, None)
                self._received.pop(who, None)
        self._note_changes()

    def _forget(self, who: Who) -> None:
        for table in (self.equipment, self.last_messages, self._received):
            table.pop(who, None)

    def find(self, site: str, code: str) -> Equipment | None:
        """Equipment by its current code or a former one."""
        return self.equipment.get((site, self._former.get((site, code), code)))

    def codes_of(self, site: str, code: str) -> list[str]:
        """The codes of an equipment's alarms, tickets and readings, the current code first.

        Includes those of the equipment that it replaces: its history continues.
        """
        return list(self.codes_until(site, code))

    def codes_until(self, site: str, code: str) -> dict[str, int | None]:
        """The same codes, with the time (epoch ms, inclusive) until which readings belong to it; None: until today.

        Readings that a replaced device sends later do not belong to its replacement.
        """
        item, found = self.find(site, code), dict[str, int | None]()
        if item is None:
            return {code: None}
        until = None
        while item is not None and item.code not in found:
            for one in (item.code, *reversed(item.former_codes)):
                found.setdefault(one, until)
            item = self.equipment.get((site, item.replaces)) if item.replaces else None
            until = None if item is None else item.retired_at
        return found

    async def load_last_messages(self) -> None:
        """Read the last messages of unknown equipment again, as another process received them."""
        async with self._database.reading() as connection:
            messages = (await connection.execute(select(last_message))).mappings().all()
        self.last_messages = {
            (row["site"], row["equipment"]): LastMessage(**{name: row[name] for name in LastMessage.__struct_fields__})
            for row in messages
        }

    def is_adopted(self, site: str, code: str) -> bool:
        """Whether it is adopted; the platform's own equipment always is."""
        item = self.equipment.get((site, code))
        return site == PLATFORM if item is None else item.adopted

    def _note_changes(self) -> None:
        self._unknown = sum(not item.adopted for item in self.equipment.values())
        self._former = former_codes_of(self.equipment.values())
        self._addresses.go_by(self.equipment, self._former)
        estate = estate_of(self.equipment.values())
        if estate != self.estate:
            self.estate = estate

    def hear(self, message: Message, readings: Sequence[Reading]) -> None:
        """Set the current code of readings, and record the message if its equipment is not in use.

        Fast: every message passes here.
        """
        heard = meant = None
        for reading in readings:
            topic = reading.topic
            if topic is not heard:  # the samples of one array share it
                heard, meant = topic, self._addresses.of(topic)
                self._keep_message(message, (meant.site, meant.equipment))
            if meant is not topic and meant is not None:
                reading.topic = meant

    def address_of(self, topic: Topic) -> Topic:
        """The topic with the current code of its equipment."""
        return self._addresses.of(topic)

    def address(self, readings: Iterable[Reading]) -> None:
        """Set the current code of readings."""
        for reading in readings:
            reading.topic = self._addresses.of(reading.topic)

    def _keep_message(self, message: Message, who: Who) -> None:
        item = self.equipment.get(who)
        if item is not None and item.in_use:
            return
        if item is None and who not in self._received and len(self._received) >= self._unknown_limit:
            return
        before = self._received.get(who) or self.last_messages.get(who)
        self._received[who] = LastMessage(
            message.topic,
            message.payload[:MESSAGE_BYTES],
            len(message.payload),
            message.received_ns // 1_000_000,
            1 if before is None else before.count + 1,
        )
        if item is not None:
            self.last_messages[who] = self._received[who]

    async def keep_last_messages(self) -> None:
        """Write the messages received since the last call; the newest one of each equipment."""
        heard, self._received = self._received, {}
        listed = {who: last for who, last in heard.items() if who in self.equipment and not self.equipment[who].in_use}
        if not listed:
            return
        self.last_messages |= listed
        rows = [{"site": who[0], "equipment": who[1], **msgspec.structs.asdict(last)} for who, last in listed.items()]
        try:
            for first in range(0, len(rows), _MESSAGES_AT_ONCE):
                await self._replace_messages(rows[first : first + _MESSAGES_AT_ONCE])
        except DatabaseTrouble:
            self._received = listed | self._received
            raise

    async def _replace_messages(self, rows: list[dict[str, Any]]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_FORGET_MESSAGE, [{f"of_{name}": row[name] for name in _KEY} for row in rows])
            await connection.execute(insert(last_message), rows)

    async def enter(self, places: Iterable[Site], items: Sequence[Equipment], cause: Cause, now: int) -> None:
        """Enter sites and equipment; replaces known data, except changes that people made since.

        Equipment with a new code is not entered under its former one.
        """
        entered = list(places)
        items = [self._with_its_past(item) for item in items if (item.site, item.code) not in self._former]
        async with self._database.transaction() as transaction:
            for place in entered:
                await _write_site(transaction, place, now)
            for item in items:
                await self._write(transaction, item, cause, now)
        for place in entered:  # after the commit only: a rollback must not change the memory
            known = self.sites.get(place.code, place)
            self.sites[place.code] = msgspec.structs.replace(place, version=known.version)
        self.replace((), items)

    def _with_its_past(self, item: Equipment) -> Equipment:
        known = self.equipment.get((item.site, item.code))
        if known is None:
            return item
        return msgspec.structs.replace(item, **{name: getattr(known, name) for name in _PAST})

    async def meet(self, readings: Iterable[Reading], now: int) -> None:
        """List equipment at its first message, up to the limit."""
        known = self.equipment
        strangers: dict[Who, Reading] = {}
        for reading in readings:
            topic = reading.topic
            who = topic.site, topic.equipment
            if who not in known and who not in self._former and topic.kind is not Kind.SYSTEM:
                strangers[who] = reading
        if not strangers:
            return
        listable = [reading for who, reading in strangers.items() if len(":".join(who)) <= _LONGEST_ID]
        admitted = listable[: max(0, self._unknown_limit - self._unknown)]
        self.rejected += len(strangers) - len(admitted)
        if not admitted:
            return
        try:
            await self._admit(admitted, now)
        except DatabaseTrouble as error:  # the next message of the equipment tries again
            log.warning("unknown equipment cannot be listed yet", why=in_plain_words(error), detail=str(error))

    async def _admit(self, strangers: list[Reading], now: int) -> None:
        # Another process may have listed them.
        await self.learn(f"{item.topic.site}:{item.topic.equipment}" for item in strangers)
        strangers = [item for item in strangers if (item.topic.site, item.topic.equipment) not in self.equipment]
        if not strangers:
            return
        names = {item.topic.site: item.site_name or item.topic.site for item in strangers}
        sites = [Site(code, _in_both(name), self._time_zone) for code, name in names.items() if code not in self.sites]
        items = [
            Equipment(
                item.topic.site, item.topic.equipment, item.topic.kind.value,
                _in_both(item.equipment_name or item.topic.equipment), adopted=False,
                shares_code=self._addresses.sharing.get((item.topic.site, item.topic.equipment), ""),
            )
            for item in strangers
        ]  # fmt: skip
        await self.enter(sites, items, Cause("system:ledger", Via.READING), now)
        log.info("unknown equipment listed", equipment=[item.id for item in items])

    async def _write(self, transaction: Transaction, item: Equipment, cause: Cause, now: int) -> None:
        before = self.equipment.get((item.site, item.code))
        row = msgspec.structs.asdict(item)
        # By the table, not by memory: a commit may have succeeded although its answer was lost.
        changed = await transaction.execute(
            update(equipment).where(equipment.c.site == item.site, equipment.c.code == item.code).values(**row)
        )
        if changed.rowcount == 0:
            await transaction.execute(insert(equipment).values(**row, created_at=now))
        old: dict[str, Any] | None = None if before is None else msgspec.structs.asdict(before)
        transaction.add_audit(audited(now, item.site, cause, "equipment.enter", item.id, old, row))
        transaction.add_facts(NewFact(now, item.site, "equipment.entered", item.id))


def _in_both(name: str) -> dict[str, str]:
    """A name from a device is used in both languages."""
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


async def _write_site(connection: AsyncConnection, place: Site, now: int) -> None:
    row = msgspec.structs.asdict(place)
    same = {"name": place.name, "time_zone": place.time_zone}  # its version counts edits by people
    changed = await connection.execute(update(site).where(site.c.code == place.code).values(**same))
    if changed.rowcount == 0:
        await connection.execute(insert(site).values(**row, created_at=now))
