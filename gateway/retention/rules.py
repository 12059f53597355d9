"""Which rows are over: one rule a table, in the order in which they can go. Statements only; nothing is run here.

What is open never goes. A ticket and its alarms stay together until the longest of their periods is over: a ticket
stays while one of its alarms does by itself, an alarm while a ticket refers to it. A journal goes with what it is of,
an attachment with its ticket.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Column, ColumnElement, Select, Table, and_, case, exists, func, not_, or_, select

from collectors.fields import Kind
from gateway.settings import RetentionSettings
from gateway.storage.tables import (
    activation,
    alarm,
    approval,
    attachment,
    event,
    fact,
    fact_cursor,
    fact_set_aside,
    journal,
    maintenance_window,
    quarantine,
    ticket,
    ticket_activation,
    ticket_alarm,
)

DAY_MS: Final = 24 * 3600 * 1000


class Limits(msgspec.Struct, frozen=True):
    """What ended before these times (epoch ms) is over."""

    alarm: int
    approval: int
    fire: int
    maintenance: int
    patrol: int
    technical: int


class Rule(msgspec.Struct, frozen=True):
    """Rows of one table that are over, and what goes with them."""

    table: Table
    key: Column[Any]
    over: Select[Any]
    """Selects the keys."""
    with_it: tuple[tuple[Table, ColumnElement[bool] | None, Column[Any]], ...] = ()
    """Rows that go in the same transaction, first to last: table, further condition, column that holds the key."""


def limits(settings: RetentionSettings, now: int) -> Limits:
    """The limits at a moment (epoch ms)."""
    days: Mapping[str, int] = settings.model_dump()
    return Limits(**{name: now - days[f"{name}_days"] * DAY_MS for name in Limits.__struct_fields__})


def rules(limits: Limits) -> list[Rule]:
    """Every rule, in the order in which foreign keys permit it."""
    ticket_goes, alarm_goes = _ticket_is_over(limits), _alarm_is_over(limits)
    journal_of_ticket = (journal, journal.c.subject == "ticket", journal.c.thing)
    journal_of_alarm = (journal, journal.c.subject == "alarm", journal.c.thing)
    return [
        Rule(
            ticket_activation,
            ticket_activation.c.activation,
            select(ticket_activation.c.activation)
            .join(ticket, ticket.c.number == ticket_activation.c.ticket)
            .where(ticket_goes),
        ),
        Rule(
            ticket,
            ticket.c.number,
            select(ticket.c.number).where(ticket_goes),
            (journal_of_ticket, (ticket_alarm, None, ticket_alarm.c.ticket), (attachment, None, attachment.c.ticket)),
        ),
        Rule(
            activation,
            activation.c.id,
            select(activation.c.id).join(alarm, alarm.c.id == activation.c.alarm).where(alarm_goes),
        ),
        Rule(alarm, alarm.c.id, select(alarm.c.id).where(alarm_goes), (journal_of_alarm,)),
        Rule(
            maintenance_window,
            maintenance_window.c.id,
            select(maintenance_window.c.id).where(_window_is_over(limits)),
            ((journal, journal.c.subject == "maintenance", journal.c.thing),),
        ),
        Rule(
            approval,
            approval.c.id,
            select(approval.c.id).where(approval.c.state != "waiting", approval.c.decided_at < limits.approval),
        ),
        Rule(
            event,
            event.c.digest,
            select(event.c.digest).where(event.c.received_at < _limit_of_kind(event.c.kind, limits)),
        ),
        Rule(
            fact,
            fact.c.id,
            select(fact.c.id).where(fact.c.at < limits.technical, fact.c.id <= _READ_BY_ALL).order_by(fact.c.id),
        ),
        Rule(
            fact_set_aside,
            fact_set_aside.c.fact,
            select(fact_set_aside.c.fact).where(fact_set_aside.c.at < limits.technical),
        ),
        Rule(quarantine, quarantine.c.id, select(quarantine.c.id).where(quarantine.c.received_at < limits.technical)),
    ]


_READ_BY_ALL: Final = select(func.coalesce(func.min(fact_cursor.c.fact), 0)).scalar_subquery()
"""The last fact that every consumer has worked off."""


def _limit_of_kind(kind: ColumnElement[str], limits: Limits) -> ColumnElement[int]:
    return case(
        (kind == Kind.FIRE_PANEL.value, limits.fire),
        (kind == Kind.PATROL_READER.value, limits.patrol),
        else_=limits.alarm,
    )


def _window_is_over(limits: Limits) -> ColumnElement[bool]:
    """Work may be on a panel or on a pump, and on both where it is for a whole area: the longer period holds."""
    ended = func.coalesce(maintenance_window.c.cancelled_at, maintenance_window.c.ends_at)
    return ended < min(limits.fire, limits.maintenance)


def _ticket_is_over(limits: Limits) -> ColumnElement[bool]:
    limit = _limit_of_kind(alarm.c.kind, limits)
    has = ticket_alarm.c.ticket == ticket.c.number
    keeps_it = exists().where(
        or_(alarm.c.id == ticket.c.alarm, exists().where(has, ticket_alarm.c.alarm == alarm.c.id)),
        or_(alarm.c.closed_at.is_(None), alarm.c.closed_at >= limit, ticket.c.closed_at >= limit),
    )
    own_limit = case((ticket.c.type == "repair", limits.maintenance), else_=limits.alarm)
    return and_(ticket.c.closed_at < own_limit, not_(keeps_it))


def _alarm_is_over(limits: Limits) -> ColumnElement[bool]:
    in_a_ticket = or_(
        exists().where(ticket_alarm.c.alarm == alarm.c.id),
        exists().where(ticket.c.alarm == alarm.c.id),
        exists().where(activation.c.alarm == alarm.c.id, ticket_activation.c.activation == activation.c.id),
    )
    return and_(alarm.c.closed_at < _limit_of_kind(alarm.c.kind, limits), not_(in_a_ticket))
