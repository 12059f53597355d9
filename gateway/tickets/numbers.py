"""Numbers of tickets: `R-{SITE}-20261122-0001`, by day in the site's time zone."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.queries.chunks import in_portions
from gateway.storage.tables import site, ticket_counter
from gateway.tickets.lifecycle.states import TicketType

_LETTER = {TicketType.REPAIR: "R", TicketType.EMERGENCY: "E"}


def day_of(now: int, time_zone: str) -> str:
    """The calendar day (YYYYMMDD) of an epoch-ms moment in a zone."""
    return datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(time_zone)).strftime("%Y%m%d")


def format_number(kind: TicketType, site_code: str, day: str, count: int) -> str:
    """The number in its display form."""
    return f"{_LETTER[kind]}-{site_code.upper()}-{day}-{count:04d}"


async def take_numbers(connection: AsyncConnection, wanted: Sequence[tuple[TicketType, str]], now: int) -> list[str]:
    """Take the next numbers of the day for (type, site code), in the caller's transaction: a rollback returns them.

    Sites whose codes differ only in case share a counter, because their numbers look alike.
    """
    zones = await _time_zones(connection, {code for _, code in wanted})
    days = [day_of(now, zones.get(code, "UTC")) for _, code in wanted]
    asked = Counter((code.upper(), kind, day) for (kind, code), day in zip(wanted, days, strict=True))
    counts = {line: await _count_on(connection, line, many) for line, many in sorted(asked.items())}
    return [
        format_number(kind, code, day, next(counts[code.upper(), kind, day]))
        for (kind, code), day in zip(wanted, days, strict=True)
    ]


async def _count_on(connection: AsyncConnection, line: tuple[str, TicketType, str], many: int) -> Iterator[int]:
    """Advance a counter and return the new numbers."""
    counter, (shown, kind, day) = ticket_counter, line
    where = (counter.c.site == shown, counter.c.type == kind.value, counter.c.day == day)
    last = await connection.scalar(
        update(counter).where(*where).values(last=counter.c.last + many).returning(counter.c.last)
    )
    if last is None:
        last = many
        await connection.execute(insert(counter).values(site=shown, type=kind.value, day=day, last=last))
    return iter(range(last - many + 1, last + 1))


async def _time_zones(connection: AsyncConnection, codes: Collection[str]) -> dict[str, str]:
    """Site code -> time zone of the sites in the ledger."""
    zones: dict[str, str] = {}
    for part in in_portions(sorted(codes)):
        rows = await connection.execute(select(site.c.code, site.c.time_zone).where(site.c.code.in_(part)))
        zones |= {row.code: row.time_zone for row in rows}
    return zones
