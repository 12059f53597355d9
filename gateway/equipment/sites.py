"""Sites, created and changed by people; readings of an unknown site create it too (`ledger.py`)."""

import re
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from gateway.equipment.ledger import Ledger, Site
from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.records import NewFact
from gateway.storage.tables import site
from gateway.storage.transaction import Transaction

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAME_LENGTH: Final = 100


class NotASite(Exception):
    """An invalid code, name or time zone; the text says what is valid."""


class SiteTaken(Exception):
    """The site code is taken."""


class NoSuchSite(Exception):
    """There is no site with this code."""


class StaleSite(Exception):
    """The site has changed since it was read."""


async def add_site(database: Database, ledger: Ledger, new: Site, cause: Cause, now: int) -> Site:
    """Create a site.

    Raises:
        NotASite, SiteTaken.
    """
    if _CODE.fullmatch(new.code) is None:
        raise NotASite("a site's code is part of topics: use 1 to 64 letters without accents, digits, _ . -")
    _check(new)
    try:
        async with database.transaction() as transaction:
            await transaction.execute(insert(site).values(**msgspec.structs.asdict(new), created_at=now))
            _tell(transaction, now, cause, "site.add", None, new)
    except IntegrityError:
        raise SiteTaken(f"there is a site {new.code} already") from None
    ledger.sites[new.code] = new
    return new


async def edit_site(
    database: Database, ledger: Ledger, code: str, version: int, changes: Mapping[str, Any], cause: Cause, now: int
) -> Site:
    """Change a site's name or time zone. Days that have begun keep the former time zone.

    Args:
        database: the database.
        ledger: updated at once; those of other processes by the fact.
        code: of the site.
        version: the version that the caller has read.
        changes: `name`, `time_zone` or both.
        cause: who.
        now: epoch milliseconds.

    Raises:
        NoSuchSite, StaleSite, NotASite.
    """
    before = ledger.sites.get(code)
    if before is None:
        raise NoSuchSite(f"there is no site {code}")
    if before.version != version:
        raise StaleSite(f"{code} is at version {before.version}")
    after = msgspec.structs.replace(before, **changes, version=version + 1)
    _check(after)
    async with database.transaction() as transaction:
        changed = await transaction.execute(
            update(site)
            .where(site.c.code == code, site.c.version == version)
            .values(name=after.name, time_zone=after.time_zone, version=after.version)
        )
        if changed.rowcount == 0:
            raise StaleSite(f"{code} has changed since it was read")
        _tell(transaction, now, cause, "site.edit", before, after)
    ledger.sites[code] = after
    return after


def _check(place: Site) -> None:
    if not all(text.strip() and len(text) <= _NAME_LENGTH and text.isprintable() for text in place.name.values()):
        raise NotASite(f"a site needs a name of 1 to {_NAME_LENGTH} characters in both languages")
    try:
        ZoneInfo(place.time_zone)
    except (KeyError, OSError, ValueError) as error:
        raise NotASite(f"{place.time_zone!r} is no time zone; write one like Asia/Shanghai") from error


def _tell(transaction: Transaction, now: int, cause: Cause, act: str, before: Site | None, after: Site) -> None:
    old = None if before is None else msgspec.structs.asdict(before)
    record = audited(now, after.code, cause, act, f"site:{after.code}", old, msgspec.structs.asdict(after))
    transaction.add_audit(record)
    transaction.add_facts(NewFact(now, after.code, act, after.code))
