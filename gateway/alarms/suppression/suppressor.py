"""The leader's side of suppression: holds the plans, and evaluates alarms whenever something may change.

That is at each decision, in its transaction; when people change a plan, by its fact; when a time ends, by the clock;
and for all open alarms when the leader starts. Plans are never changed in memory: they are read again, and a decision
reads them again first if a fact shows that they are stale.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from gateway.alarms.key import CLOCKS_DIFFER_MS, Scope
from gateway.alarms.lifecycle.rows import open_alarms_at, save
from gateway.alarms.lifecycle.states import Event
from gateway.alarms.lifecycle.transitions import Written, key_of
from gateway.alarms.rules.rulebook import Rulebook
from gateway.alarms.suppression import maintenance_windows, shelving
from gateway.alarms.suppression import out_of_service as outages
from gateway.alarms.suppression.active_causes import disproved_in, load_causes
from gateway.alarms.suppression.annunciation import evaluate, subject_of
from gateway.alarms.suppression.causes import CauseBook, CauseRules
from gateway.alarms.suppression.reasons import NOTHING_PLANNED, Plans, Shelves, Source, Turn, turns_after
from gateway.clocks import Clock
from gateway.equipment import lifecycle, links
from gateway.equipment.topology import Topology
from gateway.people.audit.entry import CLOCK, Cause, Via
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.outbox.outbox import Consumer, Fact, OutboxMetrics
from gateway.storage.queries.index_use import after
from gateway.storage.tables import fact
from gateway.storage.transaction import Transaction

CONSUMER: Final = "suppression"
FOLLOWED: Final = (
    shelving.SHELVED, shelving.UNSHELVED, outages.TAKEN_OUT, outages.RETURNED, *maintenance_windows.CHANGED,
    links.LINKED, links.UNLINKED, lifecycle.RENAMED, lifecycle.RETIRED, lifecycle.REPLACED,
)  # fmt: skip
"""Facts that change a plan. The body names the equipment whose alarms are to be evaluated; without one: the site."""
OVERDUE: Final = "out_of_service_overdue"
"""The field of the kind `system` that reports an overdue outage of an equipment."""
_START: Final = Cause("system:start", Via.CLOCK, why="evaluated at the start")
_NANOSECONDS: Final = 1_000_000
Loader = Callable[[AsyncConnection], Awaitable[Source]]
"""Reads a further source from its tables."""


class Suppressor:
    """Evaluates the suppression of alarms; only the leader has one."""

    def __init__(
        self,
        database: Database,
        epoch: int,
        metrics: OutboxMetrics,
        clock: Clock,
        rulebook: Rulebook,
        further: Sequence[Loader] = (maintenance_windows.load_windows,),
    ) -> None:
        self._database = database
        self._epoch = epoch
        self._clock = clock
        self._further = further
        self._plans = NOTHING_PLANNED
        self._causes = CauseBook(CauseRules(rulebook), Topology())
        self._as_of = 0
        """The newest fact that the plans include."""
        self._stale = True
        """This process has changed a table itself."""
        self._turns: list[Turn] = []
        """Changes by time alone, after `_evaluated_at`."""
        self._evaluated_at = 0
        self._ticked_at = 0
        """Time of the last tick, epoch ms."""
        self._one_reads = asyncio.Lock()
        """Else a tick that began to read earlier would replace newer plans by older ones."""
        self._reported_overdue: dict[Scope, bool] = {}
        check = partial(lease.verify, epoch=epoch)
        self._consumer = Consumer(database, CONSUMER, FOLLOWED, self._follow, check, metrics, clock)

    @property
    def notice(self) -> str:
        """A notice for the administrator while the work goes on; "" if there is none."""
        return self._consumer.notice

    async def follow(self) -> None:
        """Process the facts that change plans, until cancelled. Raises LeaseLost."""
        await self._consumer.run()

    async def load(self) -> None:
        """Read the plans, and evaluate all open alarms: time has passed while there was no leader."""
        await self.reevaluate_all(_START)

    async def reevaluate_all(self, cause: Cause) -> None:
        """Read the plans, and evaluate all open alarms."""
        now = self._clock()
        await self._reevaluate_at(None, cause, now)
        self._set_evaluated_at(now)
        self._ticked_at = now

    def go_by(self, rulebook: Rulebook) -> None:
        """Use the causes of another rulebook from now on."""
        self._causes = self._causes._replace(rules=CauseRules(rulebook))
        self._stale = True

    async def tick(self) -> None:
        """Evaluate the alarms that time alone has changed. Raises LeaseLost."""
        now = self._clock()
        if now < self._ticked_at - CLOCKS_DIFFER_MS:  # the clock was set back: what has begun since is in doubt
            await self.reevaluate_all(CLOCK)
        self._ticked_at = now
        if self._stale:
            async with self._one_reads, self._database.reading() as connection:
                await self._read_alone(connection)
        if now < self._evaluated_at:  # by a little: turns since then may come again
            self._set_evaluated_at(now)
        due = {turn.place for turn in self._turns if turn.at <= now}
        if due:
            await self._reevaluate_at(due, CLOCK, now)
            self._set_evaluated_at(now)

    def overdue(self) -> list[Reading]:
        """Readings of the kind `system` on outages that have become overdue, or no longer are."""
        now = self._clock()
        found = self._plans.outages.overdue(now)
        before = self._reported_overdue
        changed = [place for place in {**before, **found} if before.get(place, False) is not found.get(place, False)]
        self._reported_overdue = found
        return [_overdue_reading(place, now, overdue=found.get(place, False)) for place in changed]

    async def take_up(self, connection: AsyncConnection) -> None:
        """Read all committed plans: the first step of a transaction that decides."""
        if not self._as_of:  # nothing is read yet: no need to scan all facts
            self._stale, self._as_of = True, await connection.scalar(select(func.max(fact.c.id))) or 0
        is_plan = case((fact.c.kind.in_(FOLLOWED), fact.c.id))
        statement = select(func.max(fact.c.id), func.max(is_plan)).where(after(fact.c.id, self._as_of))
        newest, newest_plan = (await connection.execute(statement)).one()
        if newest_plan is not None or self._stale:
            await self._read(connection)
        self._as_of = newest or self._as_of

    async def evaluate(self, connection: AsyncConnection, written: Written, cause: Cause, now: int) -> None:
        """Evaluate the alarms that a transaction is about to write, and if one is a cause all that it concerns.

        A one-shot shelf ends with its condition.
        """
        returned = {line.thing for line in written.journal if line.event == Event.RETURNED}
        shelves = self._plans.shelves.by_key
        cleared = {key_of(row) for identity, row in written.alarms.items() if identity in returned}
        ended = {key for key in cleared if key in shelves and shelves[key].one_shot}
        plans = self._plans
        if ended:
            self._stale = True
            written.audit += await shelving.end_shelves(connection, ended, cause, now)
            left = {key: shelf for key, shelf in shelves.items() if key not in ended}
            self._plans = plans = plans._replace(shelves=Shelves(left))  # also for the rest of this transaction
        rows = list(written.alarms.values())
        changed = [row for row in rows if row["rule"] in self._causes.rules.ids]
        causes = self._causes
        if changed:
            self._stale = True
            causes = causes.after(((subject_of(row), row) for row in changed), disproved_in(written))
            self._causes = causes
            concerned = set().union(*(causes.concerned(subject_of(row)) for row in changed))
            others = await open_alarms_at(connection, concerned)
            rows += [row for row in others if row["id"] not in written.alarms]
        plans = plans.with_further(causes.source(plans.sources))
        for row in rows:
            evaluate(row, plans, now, written, cause)

    async def _read(self, connection: AsyncConnection) -> None:
        async with self._one_reads:
            await self._read_alone(connection)

    async def _read_alone(self, connection: AsyncConnection) -> None:
        further = [await load(connection) for load in self._further]
        self._plans = Plans(
            await shelving.load_shelves(connection), await outages.load_outages(connection), tuple(further)
        )  # fmt: skip
        # Also those that have ended and whose end is not evaluated yet: it follows as a turn.
        self._causes = await load_causes(connection, self._causes.rules, self._evaluated_at or self._clock())
        self._stale = False
        self._turns = turns_after(self._all_plans(), self._evaluated_at)

    def _all_plans(self) -> Plans:
        """The plans of people, and the active causes."""
        return self._plans.with_further(self._causes.source(self._plans.sources))

    def _set_evaluated_at(self, now: int) -> None:
        self._evaluated_at = now
        self._turns = turns_after(self._all_plans(), now)

    async def _reevaluate_at(self, places: set[Scope] | None, cause: Cause, now: int) -> None:
        """Delete shelves that have ended, and evaluate the open alarms at some places, None: everywhere."""
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self._read(transaction)
            self._stale = True
            written = Written()
            over = [key for key, shelf in self._plans.shelves.by_key.items() if shelf.until <= now]
            written.audit += await shelving.end_shelves(transaction, over, cause, now)
            rows = await open_alarms_at(transaction, None if places is None else set(self._causes.reached_from(places)))
            plans = self._all_plans()
            for row in rows:
                evaluate(row, plans, now, written, cause)
            await save(transaction, written)
        if places is None:
            self._reported_overdue = {
                Scope(row["site"], row["equipment"]): True for row in rows if row["field"] == OVERDUE and row["active"]
            }

    async def _follow(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Evaluate the alarms whose plans have changed, on behalf of the person who changed them."""
        await self.take_up(transaction)
        now, written, plans = self._clock(), Written(), self._all_plans()
        causes = {
            Scope(item.site, str(item.body.get("equipment", ""))): Cause(
                str(item.body.get("actor", "system:suppression")), Via.FACT, why=f"fact {item.id}"
            )
            for item in facts
        }
        reached = self._causes.reached_from(causes)
        for row in await open_alarms_at(transaction, set(reached)):
            here = reached.get(Scope(row["site"], row["equipment"]), Scope(row["site"]))
            cause = causes.get(here) or causes[Scope(row["site"])]
            evaluate(row, plans, now, written, cause)
        await save(transaction, written)


def _overdue_reading(place: Scope, now: int, *, overdue: bool) -> Reading:
    topic = Topic(place.site, Kind.SYSTEM, place.equipment, Channel.TELEMETRY)
    return Reading(topic, {OVERDUE: overdue}, measured_at=now, received_at=now, key=now * _NANOSECONDS)
