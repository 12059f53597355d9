"""Shelving: shelve an alarm, unshelve it, and list what is shelved."""

from typing import Any

import msgspec
from sqlalchemy import Select, func, select

from collectors.wire.reading import to_datetime, to_milliseconds
from gateway.alarms.key import Key
from gateway.alarms.lifecycle.rows import NoSuchAlarm, StaleVersion
from gateway.alarms.lifecycle.states import NotPermitted
from gateway.alarms.suppression import shelving
from gateway.alarms.suppression.reasons import Shelf
from gateway.alarms.suppression.shelving import HOUR_MS
from gateway.api.alarms.alarms import alarm_body, find_alarm
from gateway.api.alarms.bodies import AlarmBody
from gateway.api.alarms.suppression_bodies import ShelfBody, Shelve, Unshelve
from gateway.api.http.bodies import Page, texts
from gateway.api.http.pages import page_of
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, NeedsSecondPerson, Route
from gateway.people.permissions import Permission, may
from gateway.storage.tables import alarm, shelf

_MINUTE_MS = 60_000


class ShelfQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cursor: str = ""
    limit: int = 100


async def shelve_alarm(call: Call) -> AlarmBody:
    row, wanted, services = await find_alarm(call, Permission.SHELVE_ALARM), call.body, call.services
    now = services.clock()
    until = _end(wanted, row["priority"], call, now)
    if row["life_safety"]:
        _require_two(call, row["site"])
    shelf = Shelf(
        since=now, until=until, one_shot=wanted.one_shot, person=call.cause.actor, second_person=call.second_person,
        reason=wanted.reason.strip(),
    )  # fmt: skip
    return await _done(call, shelving.shelve(services.database, row["id"], wanted.version, shelf, call.cause))


async def unshelve_alarm(call: Call) -> AlarmBody:
    """Everyone who may shelve may unshelve, life-safety alarms too: it only ends a suppression."""
    row, wanted, services = await find_alarm(call, Permission.SHELVE_ALARM), call.body, call.services
    return await _done(
        call,
        shelving.unshelve(
            services.database, row["id"], wanted.version, wanted.note, call.cause, services.clock()
        ),
    )  # fmt: skip


async def _done(call: Call, act: Any) -> AlarmBody:
    try:
        await act
    except NoSuchAlarm:
        raise ProblemError("not_found") from None
    except StaleVersion as error:
        raise ProblemError("stale_version", str(error)) from error
    except NotPermitted as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    return alarm_body(await find_alarm(call, Permission.SHELVE_ALARM), call.services.accounts)


def _end(wanted: Shelve, priority: str, call: Call, now: int) -> int:
    """Until when, in epoch ms."""
    longest = call.services.longest_shelves[priority]
    if wanted.until is not None and wanted.minutes is not None:
        raise ProblemError("bad_request", "give until or minutes, not both")
    if wanted.until is not None:
        until = to_milliseconds(wanted.until)
    elif wanted.minutes is not None:
        until = now + wanted.minutes * _MINUTE_MS
    elif wanted.one_shot:
        until = now + longest
    else:
        raise ProblemError("bad_request", "give until, minutes or one_shot")
    if until <= now:
        raise ProblemError("bad_request", "until must be in the future")
    if until > now + longest:
        raise ProblemError("shelved_too_long", f"at most {longest / HOUR_MS:g} h for priority {priority}")
    return until


def _require_two(call: Call, site: str) -> None:
    if not may(call.person.grants if call.person else None, Permission.QUIET_LIFE_SAFETY, site).permitted:
        raise ProblemError("forbidden", "shelving a life-safety alarm needs a shift leader and a second person")
    if call.second_person is None:
        raise NeedsSecondPerson("shelving a life-safety alarm needs two people")


async def list_shelves(call: Call) -> Page[ShelfBody]:
    query, sites = call.query, call.sites(Permission.WATCH)
    statement = _with_newest_alarm()
    if sites is not None:
        statement = statement.where(shelf.c.site.in_(sites))
    rows, following = await page_of(call, statement, alarm.c.id, query.cursor, query.limit)
    return Page([_shelf_body(row, shelving.shelf_of(row), call) for row in rows], following)


def _with_newest_alarm() -> Select[Any]:
    """Each shelf and its newest alarm: only raised alarms can be shelved, and none is removed before its shelf."""
    other = alarm.alias()
    newest = (
        select(func.max(other.c.id))
        .where(*(other.c[name] == shelf.c[name] for name in Key._fields))
        .correlate(shelf)
        .scalar_subquery()
    )
    of_alarm = (alarm.c[name] for name in ("id", "version", "open_key", "title", "priority"))
    return select(shelf, *of_alarm).select_from(shelf.join(alarm, alarm.c.id == newest))


def _shelf_body(row: Any, shelf: Shelf, call: Call) -> ShelfBody:
    name_of = call.services.accounts.name_of
    return ShelfBody(
        alarm=row["id"],
        version=row["version"],
        open=row["open_key"] is not None,
        site=row["site"],
        equipment=f"{row['site']}:{row['equipment']}",
        part=row["part"],
        rule=row["rule"],
        title=texts(row["title"]),
        priority=row["priority"],
        since=to_datetime(shelf.since),
        until=to_datetime(shelf.until),
        one_shot=shelf.one_shot,
        person=texts(name_of(shelf.person)),
        second_person=None if shelf.second_person is None else texts(name_of(shelf.second_person)),
        reason=shelf.reason,
    )


ROUTES = (
    Route(
        "POST", "/alarms/{id}/shelve", Permission.SHELVE_ALARM, shelve_alarm,
        "Shelve an open alarm for a time, or until its condition ends", AlarmBody, request=Shelve,
    ),
    Route(
        "POST", "/alarms/{id}/unshelve", Permission.SHELVE_ALARM, unshelve_alarm, "Unshelve an alarm", AlarmBody,
        request=Unshelve, ends_silence=True,
    ),
    Route(
        "GET", "/shelves", Permission.WATCH, list_shelves, "What is shelved, open or not", Page[ShelfBody],
        query=ShelfQuery,
    ),
)  # fmt: skip
