"""Applies changes of equipment in the leader: its memory and the open alarms are moved or removed."""

from collections.abc import Collection
from typing import NamedTuple

from collectors.wire.fields import Kind
from gateway.alarms.estate.equipment_changes import (
    RENAMED_MEANWHILE,
    RETIRED_MEANWHILE,
    end_alarms,
    forget_memories,
    move_alarms,
)
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.rule_reload import Replanned
from gateway.alarms.key import Key, Scope
from gateway.alarms.lifecycle.rows import open_alarms_at
from gateway.alarms.lifecycle.transitions import key_of
from gateway.alarms.rules.rulebook import Rulebook, RuleScope
from gateway.equipment.estate import Estate, Who
from gateway.storage.transaction import Transaction


class EstateNews(NamedTuple):
    """What differs between two states of the estate."""

    renamed: dict[Who, str]
    """(site, former code) -> the current code."""
    retired: frozenset[Who] = frozenset()
    back: frozenset[Who] = frozenset()
    """Retired before, and in use again."""
    left: frozenset[tuple[str, str, str]] = frozenset()
    """(site, code, kind) of equipment whose kind was changed."""
    heirs: frozenset[Who] = frozenset()
    """Equipment that now has the rules of another code: its former one, or of what it replaces."""

    def __bool__(self) -> bool:
        return any(self[:])


def what_changed(before: Estate, after: Estate) -> EstateNews:
    """Compare two states."""
    return EstateNews(
        {who: code for who, code in after.renamed.items() if before.renamed.get(who) != code},
        after.retired - before.retired,
        before.retired - after.retired,
        after.left - before.left,
        frozenset(who for who, codes in after.earlier_codes.items() if codes != before.earlier_codes.get(who)),
    )


def apply_changes(evaluator: RuleEvaluator, rulebook: Rulebook, news: EstateNews, standing: Collection[Key]) -> None:
    """Update the evaluator's memory. Forgotten equipment starts fresh at its next message; `standing` alarms stay."""
    for (site, code), new in news.renamed.items():
        evaluator.rename(site, code, new)
    ended = news.retired | news.back

    def is_gone(site: str, code: str, kind: Kind) -> bool:
        return (site, code) in ended or (site, code, kind.value) in news.left

    evaluator.go_by(rulebook)
    if ended or news.left:
        evaluator.forget(is_gone, standing)


def rules_to_judge_anew(rulebook: Rulebook, news: EstateNews) -> list[Replanned]:
    """Every rule for equipment with another code: a rule that names a code may now apply, or no longer."""
    return [
        Replanned(RuleScope(rule.id, site, code), "equipment renamed or replaced")
        for site, code in sorted(news.heirs)
        for rule in rulebook.every_rule()
    ]


async def settle(transaction: Transaction, news: EstateNews, now: int) -> set[Key]:
    """Apply the changes to decisions made meanwhile; life-safety alarms raised by retired equipment stay.

    Returns:
        The open alarms of equipment that was retired or taken back into use.
    """
    for (site, code), new in news.renamed.items():
        await move_alarms(transaction, Scope(site, code), new, RENAMED_MEANWHILE, now)
    for who in news.retired:
        why = "equipment retired"
        await end_alarms(transaction, Scope(*who), why, RETIRED_MEANWHILE, now, spare_life_safety=True)
    for site, code, _ in news.left:
        await forget_memories(transaction, Scope(site, code))
    ended = {Scope(*who) for who in news.retired | news.back}
    return {key_of(row) for row in await open_alarms_at(transaction, ended)} if ended else set()
