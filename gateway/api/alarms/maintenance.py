"""Maintenance windows: planned ahead, listed, changed, cancelled."""

from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, select

from collectors.wire.reading import to_datetime, to_milliseconds
from gateway.alarms.suppression.maintenance import (
    WHAT_TO_DO,
    Phase,
    Refusal,
    Span,
    Window,
    WindowScope,
    phase_of,
    scope_refusal,
    span_refusal,
)
from gateway.alarms.suppression.maintenance_windows import (
    NoSuchWindow,
    StaleWindow,
    WindowIsOver,
    cancel_window,
    change_window,
    find_window,
    in_phase,
    plan_window,
    window_of,
)
from gateway.api.alarms.alarms import journal_entries, on_sites
from gateway.api.alarms.bodies import WindowBody
from gateway.api.alarms.maintenance_bodies import CancelWindow, ChangeWindow, PlanWindow, WindowDetail
from gateway.api.http.bodies import Page, texts
from gateway.api.http.pages import EVERYTHING, Location, branches_of, checked_beside, page_of, places
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, NeedsSecondPerson, Route, Services
from gateway.people.accounts import Accounts
from gateway.people.permissions import Permission, may
from gateway.storage.queries.keyset import Branch
from gateway.storage.tables import maintenance_window, window_is_open

_CODES = {Refusal.ZONE_NEEDED: "zone_needed", Refusal.TOO_LONG: "window_too_long"}
"""Refusals with a problem code of their own; all others are `bad_request`."""


class WindowQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    phase: Phase | None = None
    """`upcoming`, `on`, `over` or `cancelled`."""
    site: str | None = None
    equipment: str | None = None
    """`{site}:{code}`."""
    cursor: str = ""
    limit: int = 100


def window_body(window: Window, now: int, accounts: Accounts) -> WindowBody:
    scope = window.scope
    second = window.second_person
    return WindowBody(
        id=window.id,
        site=scope.site,
        kind=scope.kind,
        equipment=f"{scope.site}:{scope.equipment}" if scope.equipment else "",
        part=scope.part,
        zone=scope.zone,
        starts_at=to_datetime(window.starts_at),
        ends_at=to_datetime(window.ends_at),
        phase=phase_of(window, now).value,
        reason=window.reason,
        person=texts(accounts.name_of(window.person)),
        second_person=None if second is None else texts(accounts.name_of(second)),
        life_safety=second is not None,
        version=window.version,
    )


async def window_bodies(services: Services, identities: Iterable[str]) -> list[WindowBody]:
    """The current state of windows by id."""
    return await _bodies(services, maintenance_window.c.id.in_(list(identities)))


async def open_window_bodies(services: Services, sites: frozenset[str] | None) -> list[WindowBody]:
    """Active and upcoming windows on the given sites (None: on all)."""
    where = window_is_open & (maintenance_window.c.ends_at > services.clock())
    return await _bodies(services, where if sites is None else and_(where, *on_sites(maintenance_window, sites)))


async def _bodies(services: Services, where: ColumnElement[bool]) -> list[WindowBody]:
    statement = select(maintenance_window).where(where).order_by(maintenance_window.c.starts_at)
    async with services.database.reading() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [window_body(window_of(row), services.clock(), services.accounts) for row in rows]


async def list_windows(call: Call) -> Page[WindowBody]:
    query, now = call.query, call.services.clock()
    looked_at = places(call.sites(Permission.WATCH), query.site, query.equipment, call.services.ledger.codes_of)
    branches = _branches(query.phase, looked_at, now)
    key, windows = maintenance_window.c.id, select(maintenance_window)
    rows, following = await page_of(call, windows, key, query.cursor, query.limit, branches)
    return Page([window_body(window_of(row), now, call.services.accounts) for row in rows], following)


def _branches(phase: Phase | None, looked_at: Sequence[Location] | None, now: int) -> Sequence[Branch]:
    """Active and upcoming windows are read by the index of open ones; past ones by place and by how they ended."""
    if phase is None and looked_at is None:
        return EVERYTHING
    wanted = [] if phase is None else [in_phase(phase, now)]
    still_open = Branch(beside=[window_is_open, *wanted, *checked_beside(maintenance_window, looked_at)])
    ends = [end for end in (Phase.OVER, Phase.CANCELLED) if phase in {None, end}]
    outcome = maintenance_window.c.outcome
    over = [one for end in ends for one in branches_of(maintenance_window, looked_at, [(outcome, end.value)])]
    return over if phase is Phase.CANCELLED else [still_open, *over]


async def show_window(call: Call) -> WindowDetail:
    window, services = await _find(call, Permission.WATCH), call.services
    body = window_body(window, services.clock(), services.accounts)
    return WindowDetail(body, await journal_entries(services, "maintenance", window.id))


async def plan(call: Call) -> WindowBody:
    wanted, services, now = call.body, call.services, call.services.clock()
    grants = call.person.grants if call.person else None
    if not may(grants, Permission.WATCH, wanted.site).permitted:
        raise ProblemError("not_found", "there is no such site")
    if not may(grants, Permission.PLAN_MAINTENANCE, wanted.site).permitted:
        raise ProblemError("forbidden")
    scope, kind = _scope(call, wanted)
    span = _span(wanted.starts_at, wanted.ends_at)
    # The second person may approve after the work has begun.
    began = None if call.second_person is None else span.starts_at
    _refuse(scope_refusal(scope, kind) or span_refusal(span, services.longest_maintenance_ms, now, began=began))
    if wanted.life_safety:
        _require_two(call, scope.site)
    second = call.second_person if wanted.life_safety else None
    window = await plan_window(services.database, scope, span, wanted.reason, second, call.cause, now)
    return window_body(window, now, services.accounts)


async def change(call: Call) -> WindowBody:
    before, wanted, services = await _find(call, Permission.PLAN_MAINTENANCE), call.body, call.services
    now = services.clock()
    span = Span(
        before.starts_at if wanted.starts_at is None else _moment(wanted.starts_at),
        before.ends_at if wanted.ends_at is None else _moment(wanted.ends_at),
    )
    changes: dict[str, Any] = {**span._asdict(), "reason": wanted.reason or before.reason}
    if phase_of(before, now) in {Phase.UPCOMING, Phase.ON}:
        _refuse(span_refusal(span, services.longest_maintenance_ms, now, began=before.starts_at))
        # The second person approved these hours: longer ones need a new approval.
        if before.second_person and (span.starts_at < before.starts_at or span.ends_at > before.ends_at):
            _require_two(call, before.scope.site)
            changes["second_person"] = call.second_person
    after = await _acting(change_window(services.database, before.id, wanted.version, changes, call.cause, now))
    return window_body(after, now, services.accounts)


async def cancel(call: Call) -> WindowBody:
    window, services = await _find(call, Permission.PLAN_MAINTENANCE), call.services
    now = services.clock()
    after = await _acting(cancel_window(services.database, window.id, call.body.version, call.cause, now))
    return window_body(after, now, services.accounts)


def _scope(call: Call, wanted: PlanWindow) -> tuple[WindowScope, str]:
    """The scope of a window, and the kind of the equipment that it names."""
    scope = WindowScope(
        site=wanted.site, kind=wanted.kind or "", part=wanted.part, zone=wanted.zone,
        equipment=wanted.equipment.partition(":")[2] if wanted.equipment else "",
    )  # fmt: skip
    ledger = call.services.ledger
    if scope.site not in ledger.sites:
        raise ProblemError("bad_request", "there is no such site")
    if not wanted.equipment:
        return scope, ""
    item = ledger.equipment.get((scope.site, scope.equipment))
    if item is None or item.id != wanted.equipment:
        raise ProblemError("bad_request", "name the equipment as {site}:{code}, of the site that the window is for")
    return scope, item.kind


def _require_two(call: Call, site: str) -> None:
    if not may(call.person.grants if call.person else None, Permission.QUIET_LIFE_SAFETY, site).permitted:
        raise ProblemError("forbidden", "suppressing life-safety alarms needs a shift leader and a second person")
    if call.second_person is None:
        raise NeedsSecondPerson("suppressing life-safety alarms needs two people")


def _refuse(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise ProblemError(_CODES.get(refusal, "bad_request"), WHAT_TO_DO[refusal])


def _span(starts_at: datetime, ends_at: datetime) -> Span:
    return Span(_moment(starts_at), _moment(ends_at))


def _moment(at: datetime) -> int:
    if not 1970 < at.year < 2100:
        raise ProblemError("bad_request", "times must be between 1971 and 2099")
    return to_milliseconds(at)


async def _acting(act: Awaitable[Window]) -> Window:
    """Run the change; turn its errors into problems."""
    try:
        return await act
    except NoSuchWindow as error:
        raise ProblemError("not_found", str(error)) from error
    except StaleWindow as error:
        raise ProblemError("stale_version", str(error)) from error
    except WindowIsOver as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error


async def _find(call: Call, act: Permission) -> Window:
    """The window in the path. Raises ProblemError `not_found` if it does not exist or may not be seen."""
    async with call.services.database.reading() as connection:
        try:
            window = await find_window(connection, call.path["window"])
        except NoSuchWindow as error:
            raise ProblemError("not_found", str(error)) from error
    grants = call.person.grants if call.person else None
    if not may(grants, Permission.WATCH, window.scope.site).permitted:
        raise ProblemError("not_found", "there is no maintenance window with this id")
    if not may(grants, act, window.scope.site).permitted:
        raise ProblemError("forbidden")
    return window


_ONE = "/maintenance-windows/{window}"
ROUTES = (
    Route(
        "GET", "/maintenance-windows", Permission.WATCH, list_windows, "Planned work, newest first", Page[WindowBody],
        query=WindowQuery,
    ),
    Route(
        "POST", "/maintenance-windows", Permission.PLAN_MAINTENANCE, plan,
        "Plan work; its alarms are suppressed meanwhile", WindowBody, request=PlanWindow,
    ),
    Route("GET", _ONE, Permission.WATCH, show_window, "One window and its journal", WindowDetail),
    Route(
        "PATCH", _ONE, Permission.PLAN_MAINTENANCE, change, "Change the hours of planned work", WindowBody,
        request=ChangeWindow,
    ),
    Route(
        "POST", _ONE + "/cancel", Permission.PLAN_MAINTENANCE, cancel, "Cancel planned work, or end it now",
        WindowBody, request=CancelWindow, ends_silence=True,
    ),
)  # fmt: skip
