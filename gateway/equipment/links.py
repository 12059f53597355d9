"""Power and network links between equipment, in the database and in memory beside the ledger."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.equipment.topology import Link, Relation, Topology
from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.records import NewFact
from gateway.storage.tables import equipment, equipment_link, site
from gateway.storage.transaction import Transaction

LINKED: Final = "equipment.linked"
UNLINKED: Final = "equipment.unlinked"


class LinkLoop(Exception):
    """The links would form a loop; the text names it."""


class NotInLedger(Exception):
    """One end is not equipment of this site."""


class NoSuchLink(Exception):
    """There is no such link."""


class Links:
    """All links. Reads use memory; a change is checked against the database, under a lock on its site."""

    def __init__(self, database: Database) -> None:
        self.topology = Topology()
        self._database = database

    async def load(self) -> None:
        """Read everything again."""
        async with self._database.reading() as connection:
            self.topology = Topology(await _links(connection))

    async def learn(self, sites: Iterable[str]) -> None:
        """Read the links of these sites again: another process may have changed them."""
        learned = frozenset(sites)
        async with self._database.reading() as connection:
            found = await _links(connection, equipment_link.c.site.in_(learned))
        self._replace(learned, found)

    async def link(self, wanted: Link, cause: Cause, now: int) -> None:
        """Add a link from parent to child; an existing link stays as it is.

        Raises:
            NotInLedger: one end is not equipment of the site.
            LinkLoop: the parent depends on the child.
        """
        async with self._database.transaction() as transaction:
            known = await _locked(transaction, wanted.site)
            await _require_ends(transaction, wanted)
            if wanted not in known.links:
                loop = known.loop_with(wanted)
                if loop:
                    raise LinkLoop(f"{' -> '.join(loop)}: links must not form a loop")
                await transaction.execute(insert(equipment_link).values(**wanted._asdict(), created_at=now))
                _record(transaction, wanted, "equipment.link", LINKED, cause, now)
        self._replace({wanted.site}, known.links | {wanted})

    async def unlink(self, unwanted: Link, cause: Cause, now: int) -> None:
        """Remove a link. Raises NoSuchLink."""
        async with self._database.transaction() as transaction:
            known = await _locked(transaction, unwanted.site)
            if unwanted not in known.links:
                raise NoSuchLink(f"{unwanted.child} has no {unwanted.relation} from {unwanted.parent}")
            where = [equipment_link.c[name] == value for name, value in unwanted._asdict().items()]
            await transaction.execute(delete(equipment_link).where(*where))
            _record(transaction, unwanted, "equipment.unlink", UNLINKED, cause, now)
        self._replace({unwanted.site}, known.links - {unwanted})

    def _replace(self, sites: Iterable[str], found: Iterable[Link]) -> None:
        others = (link for link in self.topology.links if link.site not in sites)
        self.topology = Topology((*others, *found))


async def read_topology(connection: AsyncConnection) -> Topology:
    """All links of the table."""
    return Topology(await _links(connection))


async def _links(connection: AsyncConnection, where: ColumnElement[bool] | None = None) -> list[Link]:
    columns = [equipment_link.c[name] for name in Link._fields]
    statement = select(*columns) if where is None else select(*columns).where(where)
    return [
        Link(place, child, parent, Relation(relation))
        for place, child, parent, relation in await connection.execute(statement)
    ]


async def _locked(connection: AsyncConnection, code: str) -> Topology:
    """Lock and read the site's links for a change, so that two concurrent changes cannot form a loop."""
    await connection.execute(select(site.c.code).where(site.c.code == code).with_for_update())
    return Topology(await _links(connection, equipment_link.c.site == code))


async def _require_ends(connection: AsyncConnection, wanted: Link) -> None:
    ends = {wanted.child, wanted.parent}
    statement = select(equipment.c.code).where(equipment.c.site == wanted.site, equipment.c.code.in_(ends))
    missing = ends - set(await connection.scalars(statement))
    if missing:
        raise NotInLedger(f"{wanted.site} has no equipment {', '.join(sorted(missing))}")


def _record(transaction: Transaction, link: Link, act: str, fact: str, cause: Cause, now: int) -> None:
    thing = f"{link.site}:{link.child}"
    row = {"parent": link.parent, "relation": link.relation.value}
    before, after = (None, row) if fact == LINKED else (row, None)
    transaction.add_audit(audited(now, link.site, cause, act, thing, before, after))
    transaction.add_facts(NewFact(now, link.site, fact, thing, row))
