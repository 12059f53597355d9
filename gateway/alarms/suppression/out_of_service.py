"""Out of service: a person takes an equipment, or a part of it, out of service with a reason and a planned end.

It lasts until it is returned; past its planned end an alarm is raised. Any process may write it; the leader learns of
it from its fact, and evaluates the alarms of the equipment again.
"""

from typing import Final

import msgspec
from sqlalchemy import RowMapping, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import Scope
from gateway.alarms.suppression.reasons import Outage, Outages
from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.records import NewFact
from gateway.storage.tables import out_of_service
from gateway.storage.transaction import Transaction

TAKEN_OUT: Final = "equipment.out_of_service"
RETURNED: Final = "equipment.returned_to_service"


class NotOutOfService(Exception):
    """The equipment is already in service."""


async def load_outages(connection: AsyncConnection) -> Outages:
    """Every outage."""
    by_place: dict[Scope, dict[str, Outage]] = {}
    for row in (await connection.execute(select(out_of_service))).mappings():
        by_place.setdefault(Scope(row["site"], row["equipment"]), {})[row["part"]] = outage_of(row)
    return Outages(by_place)


def outage_of(row: RowMapping) -> Outage:
    """The outage of a row."""
    return Outage(**{name: row[name] for name in Outage.__struct_fields__})


async def take_out_of_service(
    database: Database, place: Scope, part: str, wanted: Outage, cause: Cause, now: int
) -> None:
    """Take an equipment, or a part of it ("" is the whole), out of service; an existing outage gets a new end."""
    async with database.transaction() as transaction:
        before = await _take_away(transaction, place, part)
        if before is not None:
            wanted = msgspec.structs.replace(wanted, since=before.since)
        values = msgspec.structs.asdict(wanted)
        await transaction.execute(
            insert(out_of_service).values(site=place.site, equipment=place.equipment, part=part, **values)
        )
        _record(transaction, TAKEN_OUT, place, part, before, wanted, cause, now)


async def return_to_service(database: Database, place: Scope, part: str, cause: Cause, now: int) -> None:
    """Return it: its alarms are annunciated again. Raises NotOutOfService."""
    async with database.transaction() as transaction:
        before = await _take_away(transaction, place, part)
        if before is None:
            raise NotOutOfService("it is not out of service")
        _record(transaction, RETURNED, place, part, before, None, cause, now)


async def _take_away(connection: AsyncConnection, place: Scope, part: str) -> Outage | None:
    wanted = {**place._asdict(), "part": part}
    where = [out_of_service.c[name] == value for name, value in wanted.items()]
    row = (await connection.execute(select(out_of_service).where(*where))).mappings().one_or_none()
    if row is None:
        return None
    await connection.execute(delete(out_of_service).where(*where))
    return outage_of(row)


def _record(
    transaction: Transaction,
    kind: str,
    place: Scope,
    part: str,
    before: Outage | None,
    after: Outage | None,
    cause: Cause,
    now: int,
) -> None:
    thing = f"{place.site}:{place.equipment}"
    was, will_be = (None if one is None else {"part": part, **msgspec.structs.asdict(one)} for one in (before, after))
    transaction.add_audit(audited(now, place.site, cause, kind, thing, was, will_be))
    body = {"equipment": place.equipment, "part": part, "actor": cause.actor}
    transaction.add_facts(NewFact(now, place.site, kind, thing, body))
