"""Turns readings into decisions, and decisions into one transaction.

The rules' memory is ahead of the database only while a transaction is being written. A transaction that fails because
of the database is written again unchanged, until it succeeds or another process is the leader. An item that fails by
itself is isolated and quarantined: its rule is evaluated again at the next sample, and all others are written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import select

from collectors.wire.reading import Reading
from gateway.alarms.alarm_counters import AlarmCounters
from gateway.alarms.built_in.rule_failures import Failures
from gateway.alarms.built_in.synthetic_probe import PROBE_RULE, proofs, split_decisions
from gateway.alarms.estate.equipment_changes import RENAMED_MEANWHILE
from gateway.alarms.estate.estate_changes import EstateNews, apply_changes, rules_to_judge_anew, settle, what_changed
from gateway.alarms.evaluation.clock_steps import by_new_clock, not_after
from gateway.alarms.evaluation.duplicate_events import FirstDelivery, first_delivery, is_repeat, renumber
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.outcomes import Decision, Failure, Outcome, no_rule, outcome_of, shown_by
from gateway.alarms.evaluation.progress import ProgressOf, keeping_up
from gateway.alarms.evaluation.rule_reload import Replanned, note_of, replanned
from gateway.alarms.evaluation.unknown_equipment import UnknownEquipment
from gateway.alarms.evaluation.watched_equipment import Recall, nothing_known
from gateway.alarms.event_rows import first_deliveries, keep_events
from gateway.alarms.key import Key, Scope
from gateway.alarms.lifecycle.damping import CHATTER_QUIET_MS, Damping, ended_chatter
from gateway.alarms.lifecycle.response_timeout import missed_responses
from gateway.alarms.lifecycle.rows import (
    alarms_by_id,
    due_for_re_alarm,
    is_due_for_re_alarm,
    known_activations,
    open_alarms_at,
    open_alarms_of,
    save,
)
from gateway.alarms.lifecycle.states import WAITING, Event, State
from gateway.alarms.lifecycle.transitions import (
    Written,
    by_person,
    go_by,
    key_of,
    move,
    withdraw,
    write_up,
)
from gateway.alarms.lifecycle.unwatched import unwatched_alarms
from gateway.alarms.lifecycle.verification import verified
from gateway.alarms.memory_rows import forget_memories_of, keep_memories, recorded_memory
from gateway.alarms.rules.rule import FRESH, Memory, Rule, RuleType
from gateway.alarms.rules.rulebook import Rulebook
from gateway.alarms.rules.versions import overrides, versions_after
from gateway.alarms.suppression.suppressor import Suppressor
from gateway.alarms.work_parts import WorkParts
from gateway.clocks import Clock
from gateway.equipment.estate import Estate
from gateway.people.audit.entry import CLOCK, RULES, Cause, Via
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership import lease
from gateway.storage.outbox.isolate_failure import NOBODYS_FAULT, isolate_failure, reason_of
from gateway.storage.outbox.outbox import Consumer, Fact, OutboxMetrics, move_cursor, read_cursor
from gateway.storage.received.quarantine import Quarantine
from gateway.storage.tables import rule_memory
from gateway.storage.transaction import Transaction
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

CONSUMER: Final = "alarms"
RULES_TAKEN_UP: Final = "alarms.rules"
"""Name of the cursor in the rule versions."""
_FOLLOWED: Final = ("ticket.acknowledge",)
"""Facts that alarms follow."""
_RETRY_S: Final = 0.5
_WAITS_AT_MOST_MS: Final = 600_000
"""How long after a step of the clock messages may be judged that were received before it."""
_RULE_CHANGED: Final = Cause("system:rules", Via.FACT, why="rule changed")
_Also = Callable[[Transaction], Awaitable[None]]
"""Further work in the same transaction."""


class Alarms:
    """The leader's side: judges readings and writes the decisions. Only one process may have it."""

    def __init__(
        self,
        database: Database,
        rules: Sequence[Rule],
        late_window_ms: int,
        epoch: int,
        metrics: AlarmCounters,
        fact_metrics: OutboxMetrics,
        failures: Failures,
        quarantine: Quarantine,
        clock: Clock,
        recall: Recall = nothing_known,
        chatter_quiet_ms: int = CHATTER_QUIET_MS,
        progress: ProgressOf = keeping_up,
        unknown: UnknownEquipment | None = None,
        steps: Clock = lambda: 0,
        estate: Callable[[], Estate] = Estate,
    ) -> None:
        """Judge by `rules` under the lease's `epoch`; `steps` returns by how many ms the clock was set."""
        self.trouble = ""
        """Why decisions cannot be written now; "" while they can."""
        self.waited = 0
        """How often a decision had to be retried because of the database."""
        self._failures = failures
        self._quarantine = quarantine
        self._database = database
        self._rules = (*rules, PROBE_RULE)
        self._estate = estate
        self._estate_taken_up = estate()
        self._rulebook = Rulebook(self._rules, estate=self._estate_taken_up)
        self._rules_taken_up = 0
        self._late_window_ms = late_window_ms
        self._epoch = epoch
        self._metrics = metrics
        self._clock = clock
        self._steps = steps
        # The last step of the clock, and until when messages from before it may arrive.
        self._stepped_by, self._stepped_until = 0, 0
        # The last event of each equipment, and how many events were given a new identity.
        self._newest_events: dict[tuple[str, str], Reading] = {}
        self._named = 0
        self._recall = recall
        self._progress = progress
        self._unknown = UnknownEquipment() if unknown is None else unknown
        self._evaluator = RuleEvaluator(self._rules, {}, late_window_ms)
        self._damping = Damping(chatter_quiet_ms)
        self._one_at_a_time = asyncio.Lock()
        self._parts = WorkParts()
        check = partial(lease.verify, epoch=epoch)
        self._tickets = Consumer(database, CONSUMER, _FOLLOWED, self._follow, check, fact_metrics, clock)
        self.suppressor = Suppressor(database, epoch, fact_metrics, clock, self._rulebook)

    @property
    def notice(self) -> str:
        """A notice for the administrator while the work goes on; "" if there is none."""
        notices = (self._failures.notice, self._tickets.notice, self.suppressor.notice, *self._rulebook.problems)
        return "; ".join(filter(None, (*notices, *self._parts.notices)))

    async def load(self) -> None:
        """Load the rules' memory from the last leader, and end alarms that no rule can end any more."""
        self._estate_taken_up = self._estate()
        # Alarms of equipment retired meanwhile end below, as no rule applies to it any more.
        await self._settle_estate(EstateNews(dict(self._estate_taken_up.renamed)))
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(rule_memory))).all()
            await self._damping.load(connection, self._clock())
            self._rules_taken_up = await read_cursor(connection, RULES_TAKEN_UP)
            changed = await overrides(connection, self._rules_taken_up)
            self._rulebook = Rulebook(self._rules, changed, self._estate_taken_up)
        # Not the probe's: after a step back of the clock, new probes would look older than it.
        kept = (row for row in rows if row.rule != PROBE_RULE.id)
        now = self._clock()
        memories = {Key(*row[:4]): not_after(msgspec.convert(row.body, Memory), now) for row in kept}
        self._evaluator = RuleEvaluator(self._rulebook, memories, self._late_window_ms, self._recall, self._unknown)
        await self._take_up_rules()
        await self._end_withdrawn()
        self.suppressor.go_by(self._rulebook)
        await self.suppressor.load()

    async def _take_up_estate(self) -> None:
        """Apply changes of equipment since the last check, from any process."""
        estate = self._estate()
        if estate is self._estate_taken_up or estate == self._estate_taken_up:
            return
        news = what_changed(self._estate_taken_up, estate)
        self._rulebook = self._rulebook.with_estate(estate)
        self.suppressor.go_by(self._rulebook)
        standing = await self._retrying(lambda: self._settle_estate(news))
        apply_changes(self._evaluator, self._rulebook, news, standing)
        await self._take_up_rules()
        if changes := rules_to_judge_anew(self._rulebook, news):
            await self._commit(self._evaluator.take_up(self._rulebook, changes, self._clock()), [], RENAMED_MEANWHILE)
            await self._retrying(self._end_withdrawn)
        self._estate_taken_up = estate
        log.info(
            "changed equipment taken up", **{name: len(getattr(news, name)) for name in ("renamed", "retired", "back")}
        )

    async def _settle_estate(self, news: EstateNews) -> set[Key]:
        """Correct decisions made before the leader loaded a change. Returns the alarms that stay open."""
        if not news:
            return set()
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            return await settle(transaction, news, self._clock())

    async def _take_up_rules(self) -> bool:
        """Apply rule changes since the last check, from any process. Returns whether there were any."""
        async with self._database.reading() as connection:
            news = await versions_after(connection, self._rules_taken_up)
            if not news:
                return False
            held = await overrides(connection, news[-1]["id"])
        changes = [replanned(row) for row in news]
        self._rulebook = self._rulebook.with_overrides(held)
        self.suppressor.go_by(self._rulebook)
        outcome = self._evaluator.take_up(self._rulebook, changes, self._clock())
        await self._commit_taken_up(outcome, changes, news[-1]["id"])
        self._rules_taken_up = news[-1]["id"]
        log.info("changed rules taken up", rules=[f"{item.place.rule} {item.note}" for item in changes])
        return True

    async def _commit_taken_up(self, outcome: Outcome, changes: Sequence[Replanned], newest: int) -> None:
        """Write in one transaction with the cursor, so that the next leader does not apply the versions again."""
        cause = _RULE_CHANGED

        async def move_on(transaction: Transaction) -> None:
            await self._withdraw(transaction)
            await self._update_open_alarms(transaction, changes)
            await move_cursor(transaction, RULES_TAKEN_UP, newest)

        try:
            await self._retrying(lambda: self._write(outcome, [], cause, move_on))
        except NOBODYS_FAULT:
            raise
        except Exception as error:  # noqa: BLE001 - any error is isolated and quarantined
            log.warning(
                "the decisions on changed rules are written one by one", why=reason_of(error), detail=str(error)
            )
            await self._commit(outcome, [], cause)
            await self._retrying(lambda: self._write(Outcome([], {}, []), [], cause, move_on))
        else:
            self._count(outcome.decisions)
            self._failures.note(outcome.failures)

    async def _end_withdrawn(self) -> None:
        """End alarms whose rule is gone, which could never return by themselves."""
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self.suppressor.take_up(transaction)
            await forget_memories_of(transaction, await self._withdraw(transaction))

    async def _update_open_alarms(self, transaction: Transaction, changes: Sequence[Replanned]) -> None:
        """Update open alarms of changed rules: priority, texts, ticket."""
        written, now = Written(), self._clock()
        for row in await open_alarms_at(transaction, {Scope(item.place.site) for item in changes}):
            note = note_of(changes, key_of(row))
            rule = self._rulebook.in_force(row["rule"], row["site"], row["equipment"]) if note else None
            if rule is not None:
                go_by(row, rule, written, _RULE_CHANGED, now, note)
        await save(transaction, written)

    async def _withdraw(self, transaction: Transaction) -> list[Key]:
        """End the alarms that no rule can end any more. Returns their keys."""
        cause = Cause("system:rules", Via.CLOCK, why="rule withdrawn")
        orphans = await unwatched_alarms(transaction, self._rulebook)
        written = Written()
        for row in orphans:
            withdraw(row, written, cause, self._clock())
        await self.suppressor.evaluate(transaction, written, cause, self._clock())
        await save(transaction, written)
        if orphans:
            log.warning(
                "alarms ended because their rule is gone", alarms=[row["open_key"] or row["id"] for row in orphans]
            )
        return [key_of(row) for row in orphans]

    async def decide(self, readings: Sequence[Reading]) -> None:
        """Judge readings; return when the decisions are committed. Raises LeaseLost."""
        async with self._one_at_a_time:
            self._follow_clock()
            await self._parts.carry_out("changed equipment", self._take_up_estate)
            if self._stepped_by:
                by_new_clock(readings, self._clock(), self._stepped_by)
            events = [reading for reading in readings if reading.digest]
            if events:
                readings = await self._without_repeats(readings, events)
            before = self._unknown.forgotten
            outcome = self._evaluator.take(readings)
            self._metrics.forgotten.inc(self._unknown.forgotten - before)
            await self._commit(outcome, readings, RULES)

    async def tick(self) -> None:
        """Let delays end by the clock, and record response timeouts. Raises LeaseLost."""
        async with self._one_at_a_time:
            self._follow_clock()
            await self._parts.carry_out("changed equipment", self._take_up_estate)
            await self._parts.carry_out("suppression", self._tick_suppression)
            await self._parts.carry_out("changed rules", self._tick_rules)
            await self._parts.carry_out("delays", self._tick_delays)
            await self._parts.carry_out("chatter", self._tick_chatter)
            await self._parts.carry_out("prompts", self._tick_prompts)
            await self._parts.carry_out("re-alarm", lambda: self._retrying(self._re_alarm))

    async def _tick_suppression(self) -> None:
        await self._retrying(self.suppressor.tick)
        overdue = self.suppressor.overdue()
        if overdue:
            await self._commit(self._evaluator.take(overdue), overdue, CLOCK)

    async def _tick_rules(self) -> None:
        if await self._take_up_rules():
            await self._retrying(lambda: self.suppressor.reevaluate_all(_RULE_CHANGED))

    async def _tick_delays(self) -> None:
        judged = self._progress(self._clock())
        await self._commit(self._evaluator.tick(judged.until, is_behind=judged.is_behind), [], CLOCK)

    async def _tick_chatter(self) -> None:
        now = self._clock()
        if due := self._damping.due(now, self._progress(now).until):
            await self._retrying(lambda: self._end_chatter(due))

    async def _tick_prompts(self) -> None:
        prompts = self._rulebook.of_type(RuleType.RESPONSE_TIMEOUT)
        if prompts:
            missed = await self._retrying(lambda: self._missed(prompts))
            await self._commit(Outcome(missed, {}, []), [], CLOCK)

    def _follow_clock(self) -> None:
        """Shift the remembered times after a step of the clock."""
        now, by = self._clock(), self._steps()
        if by:
            log.warning("the clock was set; the times in the rules' memory are shifted", milliseconds=by)
            self._evaluator.clock_was_set(by)
            self._stepped_by, self._stepped_until = by, now + _WAITS_AT_MOST_MS
        elif self._stepped_by and now >= self._stepped_until:
            self._stepped_by = 0

    async def _re_alarm(self) -> None:
        """Re-alarm what has been acknowledged and active for too long."""
        now = self._clock()
        async with self._database.reading() as connection:  # almost always none: needs no write transaction
            due = await due_for_re_alarm(connection, now)
        if not due:
            return
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            written = Written()
            for row in (await alarms_by_id(transaction, due)).values():
                if is_due_for_re_alarm(row, now):  # unchanged since it was read
                    move(row, Event.RE_ALARMED, {}, written, CLOCK, now)
            await save(transaction, written)

    async def _end_chatter(self, due: Sequence[str]) -> None:
        now = self._clock()
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self.suppressor.take_up(transaction)
            written = await ended_chatter(transaction, due, now)
            await self.suppressor.evaluate(transaction, written, CLOCK, now)
            await save(transaction, written)
        self._damping.over(due)

    async def _missed(self, prompts: Sequence[Rule]) -> list[Decision]:
        async with self._database.reading() as connection:
            return await missed_responses(connection, prompts, self._rulebook, self._clock())

    async def follow_tickets(self) -> None:
        """Process the tickets' facts until cancelled: acknowledging a ticket acknowledges its alarms."""
        await self._tickets.run()

    async def _follow(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Acknowledge alarms by their ticket, if they have as many activations as the person saw."""
        alarms_of = [(fact, dict(fact.body.get("alarms", {}))) for fact in facts]
        found = await alarms_by_id(transaction, sorted({identity for _, alarms in alarms_of for identity in alarms}))
        written, now = Written(), self._clock()
        for fact, alarms in alarms_of:
            cause = Cause(str(fact.body.get("actor", "")), Via.FACT, why=f"fact {fact.id}")
            for identity, activations in alarms.items():
                row = found[identity]
                is_meant = row["activations"] == activations or row["chattering"]
                if State(row["state"]) in WAITING and is_meant:
                    by_person(row, Event.ACKNOWLEDGED, "", written, cause, now)
        await save(transaction, written)

    async def _without_repeats(self, readings: Sequence[Reading], events: list[Reading]) -> list[Reading]:
        """The readings without events that were committed before, and without repeats in the batch."""
        known = await self._known_deliveries(events)
        fresh: list[Reading] = []
        for reading in readings:
            if reading.digest:
                who = (reading.topic.site, reading.topic.equipment)
                first = known.get(reading.digest)
                if first is not None:
                    if is_repeat(reading, first, self._newest_events.get(who)):
                        continue
                    self._named += 1
                    renumber(reading, self._named)
                known[reading.digest] = first_delivery(reading)
                self._newest_events[who] = reading
            fresh.append(reading)
        return fresh

    async def _known_deliveries(self, events: Sequence[Reading]) -> dict[str, FirstDelivery]:
        """The known events; if they cannot be read, all count as new, and each is written or quarantined by itself."""
        try:
            known: dict[str, FirstDelivery] = await self._retrying(lambda: self._first_deliveries(events))
        except NOBODYS_FAULT:
            raise
        except Exception as error:
            log.error(
                "it cannot be read which events were received before; all count as new",
                events=len(events),
                why=reason_of(error),
                exc_info=error,
            )
            return {}
        return known

    async def _first_deliveries(self, events: Sequence[Reading]) -> dict[str, FirstDelivery]:
        async with self._database.reading() as connection:
            return await first_deliveries(connection, events)

    async def _commit(self, outcome: Outcome, readings: Sequence[Reading], cause: Cause) -> None:
        """Write an outcome; items that cannot be written are quarantined, and their rules evaluated again."""
        failures = list(outcome.failures)

        async def write(items: Sequence[_Item]) -> None:
            part = outcome_of(outcome, items)
            fresh = [item for item in items if isinstance(item, Reading)]
            await self._retrying(lambda: self._write(part, fresh, cause))
            self._count(part.decisions)

        async def give_up(item: _Item, error: Exception) -> None:
            if isinstance(item, Reading):
                failures.append(Failure(no_rule(item.topic), error, item))
                return
            self._evaluator.take_back(item, await self._memory_on_record(item))
            failures.append(Failure(item, error, shown_by(outcome, item, readings)))

        keys = dict.fromkeys((*outcome.memories, *(decision.key for decision in outcome.decisions)))
        events = [reading for reading in readings if reading.digest]
        if keys or events:
            items: list[_Item] = [*keys, *events]
            await isolate_failure(items, write, give_up)
        kept = self._failures.note(failures)
        if kept:
            await self._quarantine.keep(kept)

    def _count(self, decisions: Sequence[Decision]) -> None:
        committed_at = self._clock()
        for decision in split_decisions(decisions)[0]:
            if decision.change.raised:
                self._metrics.raised.labels(decision.rule.priority.value).inc()
                self._metrics.latency.observe(max(0, committed_at - decision.received_at) / 1000)

    async def _memory_on_record(self, key: Key) -> Memory:
        """The recorded memory of a key; a fresh one if it cannot be read: the next sample then decides."""
        try:
            found: Memory = await self._retrying(lambda: recorded_memory(self._database, key))
        except NOBODYS_FAULT:
            raise
        except Exception as error:
            log.error("the memory of a rule cannot be read", key=str(key), why=reason_of(error), exc_info=error)
            return FRESH
        return found

    async def _retrying(self, work: Any) -> Any:
        """Retry while the database is in trouble: decisions must be written, and no message is acknowledged before."""
        while True:
            try:
                result = await work()
            except DatabaseTrouble as error:
                why = in_plain_words(error)
                if not self.trouble:
                    log.error("decisions wait: the database cannot write them", why=why, detail=str(error))
                self.trouble = why
                self._metrics.retries.inc()
                self.waited += 1
                await asyncio.sleep(0 if self._database.take_made_room() else _RETRY_S)
            else:
                self.trouble = ""
                return result

    async def _write(self, outcome: Outcome, events: list[Reading], cause: Cause, also: _Also | None = None) -> None:
        decisions, probes = split_decisions(outcome.decisions)
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self.suppressor.take_up(transaction)
            open_alarms = await open_alarms_of(transaction, {str(item.key) for item in decisions})
            known = await known_activations(transaction, decisions)
            await keep_events(transaction, events, await first_deliveries(transaction, events))
            now = self._clock()
            seen = await verified(transaction, decisions, open_alarms)
            written = write_up(decisions, open_alarms, known, cause, now, seen, self._damping.is_chatter)
            written.facts.extend(proofs(probes, now))
            await self.suppressor.evaluate(transaction, written, cause, now)
            await save(transaction, written)
            await keep_memories(transaction, outcome.memories)
            if also is not None:
                await also(transaction)
        self._damping.note(written, now)


_Item = Key | Reading
"""The unit that is written or quarantined by itself: the decisions and memory of a key, or an event."""
