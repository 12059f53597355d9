"""Numbers of tickets: `R-{SITE}-20261122-0001`, by day in the site's time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import site, ticket_counter
from gateway.tickets.states import TicketType

_LETTER = {TicketType.REPAIR: "R", TicketType.EMERGENCY: "E"}


def day_of(now: int, time_zone: str) -> str:
    """The calendar day (YYYYMMDD) of an epoch-ms moment in a zone."""
    return datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(time_zone)).strftime("%Y%m%d")


def format_number(kind: TicketType, site_code: str, day: str, count: int) -> str:
    """The number as people read it."""
    return f"{_LETTER[kind]}-{site_code.upper()}-{day}-{count:04d}"


async def next_number(connection: AsyncConnection, kind: TicketType, site_code: str, now: int) -> str:
    """Take the next number of the day, in the caller's transaction: a rollback gives it back.

    Sites whose codes differ in capitals only count together, for their numbers look alike.
    """
    zone = await connection.scalar(select(site.c.time_zone).where(site.c.code == site_code)) or "UTC"
    day = day_of(now, zone)
    counter = ticket_counter
    shown = site_code.upper()
    where = (counter.c.site == shown, counter.c.type == kind.value, counter.c.day == day)
    count = await connection.scalar(
        update(counter).where(*where).values(last=counter.c.last + 1).returning(counter.c.last)
    )
    if count is None:
        count = 1
        await connection.execute(insert(counter).values(site=shown, type=kind.value, day=day, last=count))
    return format_number(kind, site_code, day, count)
