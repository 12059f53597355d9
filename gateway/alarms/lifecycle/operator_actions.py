"""Operator actions on alarms: acknowledge, silence, reset, comment; each with its records in one transaction."""

from gateway.alarms.lifecycle.rows import alarm_to_change, save
from gateway.alarms.lifecycle.states import Event
from gateway.alarms.lifecycle.transitions import Written, by_person
from gateway.people.audit.entry import Cause
from gateway.storage.database import Database


async def acknowledge(database: Database, identity: str, version: int, note: str, cause: Cause, now: int) -> None:
    """Acknowledge an alarm: the person takes responsibility for it. Raises as `reset` does."""
    await _act(database, identity, version, Event.ACKNOWLEDGED, note, cause, now)


async def silence(database: Database, identity: str, version: int, note: str, cause: Cause, now: int) -> None:
    """Stop the sound at every console; the alarm stays unacknowledged. Raises as `reset` does."""
    await _act(database, identity, version, Event.SILENCED, note, cause, now)


async def reset(database: Database, identity: str, version: int, note: str, cause: Cause, now: int) -> None:
    """Reset a latched alarm.

    Raises:
        NoSuchAlarm: no alarm has this id.
        StaleVersion: it has changed since `version`.
        NotPermitted: its state does not permit this.
    """
    await _act(database, identity, version, Event.RESET, note, cause, now)


async def comment(database: Database, identity: str, note: str, cause: Cause, now: int) -> None:
    """Add a comment to an alarm's journal. Raises NoSuchAlarm."""
    await _act(database, identity, None, Event.COMMENTED, note, cause, now)


async def _act(
    database: Database, identity: str, version: int | None, event: Event, note: str, cause: Cause, now: int
) -> None:
    """`version` is None if changes of the alarm since it was read do not matter."""
    async with database.transaction() as transaction:
        row = await alarm_to_change(transaction, identity, version)
        written = Written()
        by_person(row, event, note, written, cause, now)
        await save(transaction, written)
