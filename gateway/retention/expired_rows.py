"""Which rows are expired: one rule per table, in the order of removal. Statements only; nothing is run here.

The periods themselves are `RetentionSettings` in `gateway/settings.py`.

Open items are never removed. A ticket and its alarms stay together until the longest of their periods is over: a ticket
stays while one of its alarms does by itself, an alarm while a ticket refers to it. A journal is removed with its alarm
or ticket, an attachment with its ticket.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec
from sqlalchemy import Column, ColumnElement, Select, Table, and_, case, exists, func, not_, or_, select, true

from collectors.wire.fields import Kind
from gateway.settings import RetentionSettings
from gateway.storage.tables import (
    activation,
    alarm,
    approval,
    attachment,
    consumer_offset,
    dead_letter,
    event,
    fact,
    journal,
    maintenance_window,
    quarantine,
    ticket,
    ticket_activation,
    ticket_alarm,
)

DAY_MS: Final = 24 * 3600 * 1000


class Limits(msgspec.Struct, frozen=True):
    """Rows that ended before these times (epoch ms) are expired."""

    alarm: int
    approval: int
    fire: int
    maintenance: int
    patrol: int
    technical: int


class Dependent(msgspec.Struct, frozen=True):
    """Rows of another table that are removed with a row, and before it: no reference is left dangling."""

    table: Table
    refers: Column[Any]
    """The column with the key of the row with which they are removed."""
    only: ColumnElement[bool] = true()

    def of(self, keys: Sequence[Any]) -> ColumnElement[bool]:
        """The dependents of some rows."""
        return and_(self.refers.in_(keys), self.only)


class Rule(msgspec.Struct, frozen=True):
    """Expired rows of one table, and their dependents."""

    table: Table
    key: Column[Any]
    over: Select[Any]
    """Selects the keys."""
    dependents: tuple[Dependent, ...] = ()
    """In the order in which foreign keys permit it."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Every table from which it removes rows."""
        return self.table.name, *(dependent.table.name for dependent in self.dependents)


def fitting(weights: Sequence[int], rows: int) -> int:
    """How many of the next keys fit into one transaction.

    Args:
        weights: rows that each of them removes, with its dependents.
        rows: limit of the transaction.

    Returns:
        The number of first keys that fit; at least one, whose dependents may need several transactions.
    """
    fits = sum(total <= rows for total in accumulate(weights))
    return max(1, fits)


def limits(settings: RetentionSettings, now: int) -> Limits:
    """The limits at a moment (epoch ms)."""
    days: Mapping[str, int] = settings.model_dump()
    return Limits(**{name: now - days[f"{name}_days"] * DAY_MS for name in Limits.__struct_fields__})


def rules(limits: Limits) -> list[Rule]:
    """Every rule, in the order in which foreign keys permit it."""
    return [
        Rule(
            ticket,
            ticket.c.number,
            select(ticket.c.number).where(_ticket_is_over(limits)),
            (
                _journal_of("ticket"),
                Dependent(ticket_activation, ticket_activation.c.ticket),
                Dependent(ticket_alarm, ticket_alarm.c.ticket),
                Dependent(attachment, attachment.c.ticket),
            ),
        ),
        Rule(
            alarm,
            alarm.c.id,
            select(alarm.c.id).where(_alarm_is_over(limits)),
            (_journal_of("alarm"), Dependent(activation, activation.c.alarm)),
        ),
        Rule(
            maintenance_window,
            maintenance_window.c.id,
            select(maintenance_window.c.id).where(_window_is_over(limits)),
            (_journal_of("maintenance"),),
        ),
        Rule(
            approval,
            approval.c.id,
            select(approval.c.id).where(approval.c.state != "waiting", approval.c.decided_at < limits.approval),
        ),
        Rule(
            event,
            event.c.digest,
            select(event.c.digest).where(_is_before_limit(event.c.received_at, event.c.kind, limits)),
        ),
        Rule(
            fact,
            fact.c.id,
            select(fact.c.id).where(fact.c.at < limits.technical, fact.c.id <= _READ_BY_ALL),
        ),
        Rule(
            dead_letter,
            dead_letter.c.fact,
            select(dead_letter.c.fact).where(dead_letter.c.at < limits.technical),
        ),
        Rule(quarantine, quarantine.c.id, select(quarantine.c.id).where(quarantine.c.received_at < limits.technical)),
    ]


_READ_BY_ALL: Final = select(func.coalesce(func.min(consumer_offset.c.fact), 0)).scalar_subquery()
"""The last fact that every consumer has processed."""


def _limit_of_kind(kind: ColumnElement[str], limits: Limits) -> ColumnElement[int]:
    return case(
        (kind == Kind.FIRE_PANEL.value, limits.fire),
        (kind == Kind.PATROL_READER.value, limits.patrol),
        else_=limits.alarm,
    )


def _is_before_limit(at: ColumnElement[int], kind: ColumnElement[str], limits: Limits) -> ColumnElement[bool]:
    """The first condition follows from the second, but only the first one can use an index of the time."""
    return and_(at < max(limits.alarm, limits.fire, limits.patrol), at < _limit_of_kind(kind, limits))


def _journal_of(subject: str) -> Dependent:
    return Dependent(journal, journal.c.thing, journal.c.subject == subject)


def _window_is_over(limits: Limits) -> ColumnElement[bool]:
    """Work may be on a panel or on a pump, or on both if it is for a whole area: the longer period applies."""
    limit, cancelled_at = min(limits.fire, limits.maintenance), maintenance_window.c.cancelled_at
    # Each of the two has an index; coalesce of them has none.
    return or_(cancelled_at < limit, and_(cancelled_at.is_(None), maintenance_window.c.ends_at < limit))


def _ticket_is_over(limits: Limits) -> ColumnElement[bool]:
    limit = _limit_of_kind(alarm.c.kind, limits)
    is_kept = or_(alarm.c.closed_at.is_(None), alarm.c.closed_at >= limit, ticket.c.closed_at >= limit)
    own = exists().where(alarm.c.id == ticket.c.alarm, is_kept)
    # Two conditions instead of one with `or`, for which a database would scan every alarm for every ticket.
    joined = exists().where(ticket_alarm.c.ticket == ticket.c.number, ticket_alarm.c.alarm == alarm.c.id, is_kept)
    own_limit = case((ticket.c.type == "repair", limits.maintenance), else_=limits.alarm)
    closed_at = ticket.c.closed_at
    return and_(closed_at < max(limits.maintenance, limits.alarm), closed_at < own_limit, not_(own), not_(joined))


def _alarm_is_over(limits: Limits) -> ColumnElement[bool]:
    in_a_ticket = (
        exists().where(ticket_alarm.c.alarm == alarm.c.id),
        exists().where(ticket.c.alarm == alarm.c.id),
        exists().where(activation.c.alarm == alarm.c.id, ticket_activation.c.activation == activation.c.id),
    )
    return and_(
        _is_before_limit(alarm.c.closed_at, alarm.c.kind, limits), *(not_(condition) for condition in in_a_ticket)
    )
