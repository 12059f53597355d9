"""Tracks which alarms chatter, since when each is quiet, and what is written when chatter ends."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import Key
from gateway.alarms.lifecycle.chatter import WITHIN_MS, Recent, proposed_off_delay
from gateway.alarms.lifecycle.rows import alarms_by_id
from gateway.alarms.lifecycle.transitions import CHATTERED, Written, end_chatter, identity_of
from gateway.alarms.rules.rule import RuleType
from gateway.people.audit.entry import CLOCK
from gateway.storage.queries.index_use import after
from gateway.storage.tables import activation, alarm, alarm_is_open

CHATTER_QUIET_MS: Final = 300_000
_MOST_LOOKED_AT: Final = 500
"""Newest activations that a proposal is based on."""


class Damping:
    """In-memory chatter state of `Alarms`. The alarms' rows have the marks, so damping continues after a restart."""

    def __init__(self, quiet_ms: int) -> None:
        self._quiet_ms = quiet_ms
        self._recent = Recent()
        # Alarm's id -> time of its last change, epoch ms.
        self._last_seen: dict[str, int] = {}

    async def load(self, connection: AsyncConnection, now: int) -> None:
        """Continue from the last leader; the quiet time of chattering alarms starts now."""
        columns = (activation.c.site, activation.c.equipment, activation.c.part, activation.c.rule)
        recent = select(*columns, activation.c.identity, activation.c.started_at)
        within = after(activation.c.started_at, now - WITHIN_MS)
        for *key, identity, at in await connection.execute(recent.where(within)):
            self._recent.is_chatter(Key(*key), identity, at)
        marked = select(alarm.c.id).where(alarm_is_open, alarm.c.chattering)
        self._last_seen = dict.fromkeys(await connection.scalars(marked), now)

    def is_chatter(self, decision: Decision) -> bool:
        """Whether an activation is the third within a minute. Never for life safety, momentary events or prompts."""
        rule = decision.rule
        if rule.life_safety or rule.momentary or rule.type is RuleType.RESPONSE_TIMEOUT:
            return False
        return self._recent.is_chatter(decision.key, identity_of(decision), decision.change.at)

    def note(self, written: Written, now: int) -> None:
        """Record what was committed."""
        # Only chatter events: another change, such as the end of its cause, does not restart the quiet time.
        self._last_seen |= {line.thing: now for line in written.journal if line.event in CHATTERED}

    def due(self, now: int, judged_until: int) -> list[str]:
        """The alarms that have been quiet for long enough, by what is judged."""
        # In the future: the clock was set back since; the quiet time starts now.
        self._last_seen = {identity: min(seen, now) for identity, seen in self._last_seen.items()}
        return [identity for identity, seen in self._last_seen.items() if judged_until - seen >= self._quiet_ms]

    def over(self, ended: Sequence[str]) -> None:
        """Stop tracking these alarms."""
        for identity in ended:
            self._last_seen.pop(identity, None)


async def ended_chatter(connection: AsyncConnection, due: Sequence[str], now: int) -> Written:
    """End the chatter of quiet alarms; each journal names the off-delay that would have prevented it."""
    written = Written()
    for row in (await alarms_by_id(connection, due)).values():
        if row["chattering"]:
            end_chatter(row, written, CLOCK, now, await _proposal(connection, row["id"]))
    return written


async def _proposal(connection: AsyncConnection, identity: str) -> str:
    newest = (
        select(activation.c.started_at, activation.c.ended_at)
        .where(activation.c.alarm == identity)
        .order_by(activation.c.id.desc())
        .limit(_MOST_LOOKED_AT)
    )
    times = [(row[0], row[1]) for row in await connection.execute(newest)]
    found = proposed_off_delay(sorted(times, key=lambda of: of[0]))
    if found is None:
        return "no off-delay of up to ten minutes would have prevented it: check the device"
    return (
        f"with an off-delay of {found.seconds} s these {found.activations} activations would have been"
        f" {found.would_have_been}"
    )
