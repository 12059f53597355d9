"""Which alarms chatter now, since when each is quiet, and what is written when that is over."""

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
"""Activations that a proposal rests on, the newest."""


class Damping:
    """The memory behind `Alarms`. The marks themselves stand on the alarms: a restart damps on."""

    def __init__(self, quiet_ms: int) -> None:
        self._quiet_ms = quiet_ms
        self._recent = Recent()
        # Alarm's id -> when something was last heard of it, epoch ms.
        self._heard: dict[str, int] = {}

    async def load(self, connection: AsyncConnection, now: int) -> None:
        """Go on where the last owner stopped; who chatters has its quiet time from now on."""
        columns = (activation.c.site, activation.c.equipment, activation.c.part, activation.c.rule)
        recent = select(*columns, activation.c.identity, activation.c.started_at)
        within = after(activation.c.started_at, now - WITHIN_MS)
        for *key, identity, at in await connection.execute(recent.where(within)):
            self._recent.is_chatter(Key(*key), identity, at)
        marked = select(alarm.c.id).where(alarm_is_open, alarm.c.chattering)
        self._heard = dict.fromkeys(await connection.scalars(marked), now)

    def is_chatter(self, decision: Decision) -> bool:
        """Whether an activation is the third within a minute. Never one of life safety, or that is a call in itself."""
        rule = decision.rule
        if rule.life_safety or rule.momentary or rule.type is RuleType.UNANSWERED:
            return False
        return self._recent.is_chatter(decision.key, identity_of(decision), decision.change.at)

    def note(self, written: Written, now: int) -> None:
        """Take note of what was committed."""
        # Not of every change of its row: that its cause ended, say, makes it no less quiet.
        self._heard |= {line.thing: now for line in written.journal if line.event in CHATTERED}

    def due(self, now: int, judged_until: int) -> list[str]:
        """The alarms that have been quiet for long enough, by all that is judged."""
        # Heard in the future: the clock was set back since, and it is quiet from now on.
        self._heard = {identity: min(heard, now) for identity, heard in self._heard.items()}
        return [identity for identity, heard in self._heard.items() if judged_until - heard >= self._quiet_ms]

    def over(self, ended: Sequence[str]) -> None:
        """They are alarms like any other again."""
        for identity in ended:
            self._heard.pop(identity, None)


async def ended_chatter(connection: AsyncConnection, due: Sequence[str], now: int) -> Written:
    """What becomes of alarms that are quiet: each says what would have kept it so."""
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
        return "no off-delay of at most ten minutes would have kept it quiet: look at the device"
    return (
        f"with an off-delay of {found.seconds} s these {found.activations} activations would have been"
        f" {found.would_have_been}"
    )
