"""Detects response timeouts: prompts that are still unacknowledged when their time is over."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.wire.fields import Kind
from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import Key
from gateway.alarms.lifecycle.states import WAITING
from gateway.alarms.lifecycle.transitions import identity_of
from gateway.alarms.rules.rule import Change, Rule
from gateway.alarms.rules.rulebook import Rulebook
from gateway.storage.queries.chunks import in_portions
from gateway.storage.tables import activation, alarm, alarm_is_open

_WAITING: Final = sorted(state.value for state in WAITING)


async def missed_responses(
    connection: AsyncConnection, rules: Sequence[Rule], rulebook: Rulebook, now: int
) -> list[Decision]:
    """A miss for each prompt whose time is over: raised and returned at once, so that it stays until acknowledged.

    Args:
        connection: to the service's database.
        rules: those of the type `response_timeout`, each as some equipment has it.
        rulebook: gives the rule as it applies to the equipment of the prompt.
        now: epoch ms.
    """
    missed: list[Decision] = []
    shortest = {rule.id: rule for rule in sorted(rules, key=lambda rule: -rule.after)}
    for rule in shortest.values():
        found = await connection.execute(
            select(alarm.c.site, alarm.c.equipment, alarm.c.part, alarm.c.kind, activation.c.received_at)
            .join(alarm, activation.c.alarm == alarm.c.id)
            .where(
                alarm_is_open,
                alarm.c.rule == rule.of,
                alarm.c.state.in_(_WAITING),
                activation.c.acknowledged_at.is_(None),
                activation.c.received_at <= now - rule.after,
            )
            .order_by(activation.c.received_at)
        )
        for row in found.mappings():
            its_own = rulebook.in_force(rule.id, row["site"], row["equipment"])
            if its_own is not None and row["received_at"] <= now - its_own.after:
                missed += _miss(its_own, row, now)
    return await _not_recorded(connection, missed)


def _miss(rule: Rule, prompt: RowMapping, now: int) -> list[Decision]:
    key = Key(prompt["site"], prompt["equipment"], prompt["part"], rule.id)
    at = prompt["received_at"] + rule.after
    return [
        Decision(key, rule, Kind(prompt["kind"]), Change(raised, at), None, now) for raised in (True, False)
    ]  # fmt: skip


async def _not_recorded(connection: AsyncConnection, missed: list[Decision]) -> list[Decision]:
    known: set[str] = set()
    for part in in_portions(sorted({identity_of(decision) for decision in missed})):
        known.update(await connection.scalars(select(activation.c.identity).where(activation.c.identity.in_(part))))
    return [decision for decision in missed if identity_of(decision) not in known]
