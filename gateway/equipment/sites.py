"""Sites, made and changed by people; what is heard of a site that nobody has entered makes it too (`ledger.py`)."""

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
    """A code, a name or a time zone that cannot be; the text says what can."""


class SiteTaken(Exception):
    """There is a site of this code already."""


class NoSuchSite(Exception):
    """There is none of this code."""


class StaleSite(Exception):
    """It has changed since whoever acts looked at it."""


async def add_site(database: Database, ledger: Ledger, new: Site, cause: Cause, now: int) -> Site:
    """Enter a site.

    Raises:
        NotASite, SiteTaken: see there.
    """
    if _CODE.fullmatch(new.code) is None:
        raise NotASite("a site's code stands in topics: 1 to 64 letters without accents, digits, _ . -")
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
    """Give a site another name or time zone. Days that have begun are counted by the one that was in force.

    Args:
        database: where it is kept.
        ledger: learns it at once; those of other processes by the fact.
        code: of the site.
        version: what whoever acts has seen.
        changes: `name`, `time_zone` or both.
        cause: who.
        now: epoch milliseconds.

    Raises:
        NoSuchSite, StaleSite, NotASite: see there.
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
            raise StaleSite(f"{code} has changed since it was looked at")
        _tell(transaction, now, cause, "site.edit", before, after)
    ledger.sites[code] = after
    return after


def _check(place: Site) -> None:
    if not all(text.strip() and len(text) <= _NAME_LENGTH and text.isprintable() for text in place.name.values()):
        raise NotASite(f"a site has a name of 1 to {_NAME_LENGTH} characters in both languages")
    try:
        ZoneInfo(place.time_zone)
    except (KeyError, OSError, ValueError) as error:
        raise NotASite(f"{place.time_zone!r} is no time zone; write one like Asia/Shanghai") from error


def _tell(transaction: Transaction, now: int, cause: Cause, act: str, before: Site | None, after: Site) -> None:
    old = None if before is None else msgspec.structs.asdict(before)
    record = audited(now, after.code, cause, act, f"site:{after.code}", old, msgspec.structs.asdict(after))
    transaction.add_audit(record)
    transaction.add_facts(NewFact(now, after.code, act, after.code))
