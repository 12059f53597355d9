"""Plans, changes and cancels maintenance windows, and records when they begin and end.

Their beginning and end change alarms by time alone (`reasons.Turn`); this module writes the record of it.
"""

from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import ColumnElement, Select, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.suppression.maintenance import Phase, Span, Window, Windows, WindowScope, phase_of, windows_of
from gateway.people.audit.entry import CLOCK, Cause, audited
from gateway.storage.database import Database
from gateway.storage.identity import new_id
from gateway.storage.leadership import lease
from gateway.storage.records import JournalRow, NewFact
from gateway.storage.tables import journal, maintenance_window, window_is_open
from gateway.storage.transaction import Transaction

log = structlog.get_logger(__name__)

SUBJECT: Final = "maintenance"
_SCOPE: Final = WindowScope.__struct_fields__
_PLANNED, _CHANGED, _STARTED, _ENDED, _CANCELLED = "planned", "changed", "started", "ended", "cancelled"
CHANGED: Final = tuple(f"{SUBJECT}.{what}" for what in (_PLANNED, _CHANGED, _CANCELLED))
"""Facts that change a plan."""


class NoSuchWindow(Exception):
    """There is no window with this id."""


class StaleWindow(Exception):
    """The window has changed since it was read."""


class WindowIsOver(Exception):
    """The window has ended or was cancelled, and cannot be changed."""


def window_of(row: Any) -> Window:
    """The window of a row."""
    others = {name: row[name] for name in Window.__struct_fields__ if name != "scope"}
    return Window(scope=WindowScope(**{name: row[name] for name in _SCOPE}), **others)


async def find_window(connection: AsyncConnection, identity: str) -> Window:
    """One window. Raises NoSuchWindow."""
    return await _one(connection, select(maintenance_window).where(maintenance_window.c.id == identity))


async def load_windows(connection: AsyncConnection) -> Windows:
    """As a source of suppression: windows that are not cancelled and whose end is not recorded yet."""
    rows = await connection.execute(select(maintenance_window).where(window_is_open))
    return windows_of(window_of(row) for row in rows.mappings())


def in_phase(phase: Phase, now: int) -> ColumnElement[bool]:
    """`phase_of` as a condition on the table."""
    window = maintenance_window.c
    if phase is Phase.CANCELLED:
        return window.cancelled_at.is_not(None)
    at = {
        Phase.UPCOMING: window.starts_at > now,
        Phase.ON: (window.starts_at <= now) & (window.ends_at > now),
        Phase.OVER: window.ends_at <= now,
    }[phase]
    return window.cancelled_at.is_(None) & at if phase is Phase.OVER else window_is_open & at


async def plan_window(
    database: Database, scope: WindowScope, span: Span, reason: str, second_person: str | None, cause: Cause, now: int
) -> Window:
    """Write a window that `maintenance` has not refused."""
    window = Window(
        id=new_id(now), scope=scope, starts_at=span.starts_at, ends_at=span.ends_at, person=cause.actor,
        second_person=second_person, reason=reason, cancelled_at=None, created_at=now, version=1,
    )  # fmt: skip
    async with database.transaction() as transaction:
        await transaction.execute(insert(maintenance_window).values(_row(window)))
        _record(transaction, None, window, _PLANNED, cause, now)
    return window


async def change_window(
    database: Database, identity: str, version: int, changes: dict[str, Any], cause: Cause, now: int
) -> Window:
    """Give a window another `starts_at`, `ends_at`, `reason` or `second_person`.

    Raises:
        NoSuchWindow: no window has this id.
        StaleWindow: it has changed since `version`.
        WindowIsOver: it has ended or was cancelled.
    """
    return await _change(database, identity, version, changes, _CHANGED, cause, now)


async def cancel_window(database: Database, identity: str, version: int, cause: Cause, now: int) -> Window:
    """End a window now, or before it begins. Raises as `change_window` does."""
    return await _change(database, identity, version, {"cancelled_at": now}, _CANCELLED, cause, now)


async def _change(
    database: Database, identity: str, version: int, changes: dict[str, Any], what: str, cause: Cause, now: int
) -> Window:
    async with database.transaction() as transaction:
        statement = select(maintenance_window).where(maintenance_window.c.id == identity).with_for_update()
        before = await _one(transaction, statement)
        if before.version != version:
            raise StaleWindow(f"the window is at version {before.version}, not {version}")
        if phase_of(before, now) in {Phase.OVER, Phase.CANCELLED}:
            raise WindowIsOver(f"the window is {phase_of(before, now)}; plan another one")
        after = msgspec.structs.replace(before, **changes, version=version + 1)
        await transaction.execute(
            update(maintenance_window)
            .where(maintenance_window.c.id == identity)
            .values(**_row(after), outcome=None if after.cancelled_at is None else Phase.CANCELLED.value)
        )
        _record(transaction, before, after, what, cause, now)
    return after


async def note_turns(database: Database, epoch: int, now: int) -> None:
    """Record the beginning and end of each window, if not recorded yet.

    A periodic check, so that a restart neither omits nor repeats a record. Raises LeaseLost.
    """
    async with database.reading() as connection:
        due = await _due(connection, now)
    if not due:
        return
    async with database.transaction() as transaction:
        await lease.verify(transaction, epoch)
        for window, what in due:
            _record(transaction, window, window, what, CLOCK, now)
            if what == _ENDED:
                ended = maintenance_window.c.id == window.id
                await transaction.execute(update(maintenance_window).where(ended).values(outcome=Phase.OVER.value))
    for window, what in due:
        log.info("maintenance window", what=what, id=window.id, site=window.scope.site, reason=window.reason)


async def _due(connection: AsyncConnection, now: int) -> list[tuple[Window, str]]:
    """Windows and what is to be recorded: the beginning, the end, or both after a downtime."""
    unfinished = window_is_open & (maintenance_window.c.starts_at <= now)
    rows = await connection.execute(select(maintenance_window, _noted(_STARTED).label("begun")).where(unfinished))
    due = []
    for row in rows.mappings():
        window = window_of(row)
        if not row["begun"]:
            due.append((window, _STARTED))
        if phase_of(window, now) is Phase.OVER:
            due.append((window, _ENDED))
    return due


def _noted(event: str) -> ColumnElement[bool]:
    of_this = (journal.c.subject == SUBJECT) & (journal.c.thing == maintenance_window.c.id)
    return exists().where(of_this, journal.c.event == event)


async def _one(connection: AsyncConnection, statement: Select[Any]) -> Window:
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NoSuchWindow("there is no maintenance window with this id")
    return window_of(row)


def _row(window: Window) -> dict[str, Any]:
    row = msgspec.structs.asdict(window)
    return {**msgspec.structs.asdict(row.pop("scope")), **row}


def _record(transaction: Transaction, before: Window | None, after: Window, what: str, cause: Cause, now: int) -> None:
    """Journal, audit and fact, in the caller's transaction."""
    site, identity = after.scope.site, after.id
    phase = "" if before is None else phase_of(before, now).value
    row = JournalRow(SUBJECT, identity, now, what, phase, phase_of(after, now).value, cause.actor, after.reason)
    shown = [None if window is None else _audited(window) for window in (before, after)]
    transaction.add_journal(row)
    transaction.add_audit(audited(now, site, cause, f"{SUBJECT}.{what}", identity, *shown))
    body = {"actor": cause.actor, "equipment": after.scope.equipment}
    transaction.add_facts(NewFact(now, site, f"{SUBJECT}.{what}", identity, body))


def _audited(window: Window) -> dict[str, Any]:
    """Without free text: the audit names people by their ids only."""
    return {name: value for name, value in _row(window).items() if name not in {"id", "reason", "created_at"}}
