"""The owner takes up what people have done to equipment: what it remembers moves or goes, and what is open follows."""

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.fields import Kind
from gateway.alarms.equipment_ends import (
    RENAMED_MEANWHILE,
    RETIRED_MEANWHILE,
    end_alarms,
    forget_memories,
    move_alarms,
)
from gateway.alarms.rulebook import Rulebook
from gateway.alarms.suppression import Place
from gateway.alarms.watches import Watches
from gateway.equipment.estate import Estate, Who


class EstateNews(NamedTuple):
    """What differs between two states of the estate."""

    renamed: dict[Who, str]
    """(site, former code) -> the code of today."""
    retired: frozenset[Who] = frozenset()
    back: frozenset[Who] = frozenset()
    """Retired before, and in use again."""
    left: frozenset[tuple[str, str, str]] = frozenset()
    """(site, code, kind) of what has another kind now."""

    def __bool__(self) -> bool:
        return any(self[:])


def what_changed(before: Estate, after: Estate) -> EstateNews:
    """Compare two states."""
    return EstateNews(
        {who: code for who, code in after.renamed.items() if before.renamed.get(who) != code},
        after.retired - before.retired,
        before.retired - after.retired,
        after.left - before.left,
    )


def apply_changes(watches: Watches, rulebook: Rulebook, news: EstateNews) -> None:
    """Let the engine's memory follow. What is forgotten begins anew with its next message."""
    for (site, code), new in news.renamed.items():
        watches.rename(site, code, new)
    ended = news.retired | news.back

    def is_gone(site: str, code: str, kind: Kind) -> bool:
        return (site, code) in ended or (site, code, kind.value) in news.left

    watches.go_by(rulebook)
    if ended or news.left:
        watches.forget(is_gone)


async def settle(connection: AsyncConnection, news: EstateNews, now: int) -> None:
    """Let what was decided meanwhile follow too; alarms of life safety that retired equipment has raised stay."""
    for (site, code), new in news.renamed.items():
        await move_alarms(connection, Place(site, code), new, RENAMED_MEANWHILE, now)
    for who in news.retired:
        why = "equipment retired"
        await end_alarms(connection, Place(*who), why, RETIRED_MEANWHILE, now, spare_life_safety=True)
    for site, code, _ in news.left:
        await forget_memories(connection, Place(site, code))
