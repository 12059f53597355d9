"""Alarms act here: readings become decisions, decisions become one transaction.

The memory of the rules runs ahead of the database only while a transaction is being written; a transaction that
fails for the database's sake is written again as it is, until it is in or another process owns the alarms. What fails
for its own sake is found and put aside: the rule is asked again at the next sample, and all others are written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import select

from collectors.wire.reading import Reading
from gateway.alarms.alarm_metrics import AlarmMetrics
from gateway.alarms.built_in.rule_failures import Failures
from gateway.alarms.built_in.synthetic_probe import BEAT_RULE, proofs, told_apart
from gateway.alarms.estate.equipment_ends import RENAMED_MEANWHILE
from gateway.alarms.estate.estate_changes import EstateNews, apply_changes, rules_to_judge_anew, settle, what_changed
from gateway.alarms.evaluation.clock_steps import by_new_clock, not_after
from gateway.alarms.evaluation.duplicate_events import FirstDelivery, first_delivery, is_repeat, name_anew
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.outcomes import Decision, Failure, Outcome, no_rule, outcome_of, shown_by
from gateway.alarms.evaluation.progress import Asked, keeping_up
from gateway.alarms.evaluation.rule_reload import Replanned, note_of, replanned
from gateway.alarms.evaluation.unknown_equipment import UnknownEquipment
from gateway.alarms.evaluation.watched_equipment import Recall, nothing_known
from gateway.alarms.event_rows import first_deliveries, keep_events
from gateway.alarms.key import Key, Scope
from gateway.alarms.lifecycle.damping import CHATTER_QUIET_MS, Damping, ended_chatter
from gateway.alarms.lifecycle.response_timeout import unanswered
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
from gateway.alarms.suppression.suppressor import Suppressing
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
"""Under which name the place among the rules' versions is kept."""
_TOLD: Final = ("ticket.acknowledge",)
"""Facts that alarms follow."""
_RETRY_S: Final = 0.5
_WAITS_AT_MOST_MS: Final = 600_000
"""For so long after the clock was set messages may come to be judged that were received before."""
_RULE_CHANGED: Final = Cause("system:rules", Via.FACT, why="rule changed")
_Also = Callable[[Transaction], Awaitable[None]]
"""What is done in the same transaction."""


class Alarms:
    """The owner's side: judges readings and writes what follows. Only one process may hold this."""

    def __init__(
        self,
        database: Database,
        rules: Sequence[Rule],
        late_window_ms: int,
        epoch: int,
        metrics: AlarmMetrics,
        fact_metrics: OutboxMetrics,
        failures: Failures,
        quarantine: Quarantine,
        clock: Clock,
        recall: Recall = nothing_known,
        chatter_quiet_ms: int = CHATTER_QUIET_MS,
        progress: Asked = keeping_up,
        unknown: UnknownEquipment | None = None,
        steps: Clock = lambda: 0,
        estate: Callable[[], Estate] = Estate,
    ) -> None:
        """Judge by `rules` under the lease's `epoch`; `steps` says by how many ms the clock has been set."""
        self.trouble = ""
        """Why decisions cannot be written now, "" while they can."""
        self.waited = 0
        """How often the database did not take a decision at once."""
        self._failures = failures
        self._quarantine = quarantine
        self._database = database
        self._rules = (*rules, BEAT_RULE)
        self._estate = estate
        self._estate_taken_up = estate()
        self._rulebook = Rulebook(self._rules, estate=self._estate_taken_up)
        self._rules_taken_up = 0
        self._late_window_ms = late_window_ms
        self._epoch = epoch
        self._metrics = metrics
        self._clock = clock
        self._steps = steps
        # The last step of the clock, and until when messages from before it may come.
        self._stepped_by, self._stepped_until = 0, 0
        # The last event of each equipment, and how many events were given an identity of their own.
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
        self._tickets = Consumer(database, CONSUMER, _TOLD, self._follow, check, fact_metrics, clock)
        self.suppressing = Suppressing(database, epoch, fact_metrics, clock, self._rulebook)

    @property
    def notice(self) -> str:
        """What people should know though the work goes on, "" while there is nothing."""
        said = (self._failures.notice, self._tickets.notice, self.suppressing.notice, *self._rulebook.problems)
        return "; ".join(filter(None, (*said, *self._parts.notices)))

    async def load(self) -> None:
        """Take up the rules' memory where the last owner left it, and end what no rule watches any more."""
        self._estate_taken_up = self._estate()
        # What is retired meanwhile ends below, as no rule watches it any more.
        await self._settle_estate(EstateNews(dict(self._estate_taken_up.renamed)))
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(rule_memory))).all()
            await self._damping.load(connection, self._clock())
            self._rules_taken_up = await read_cursor(connection, RULES_TAKEN_UP)
            changed = await overrides(connection, self._rules_taken_up)
            self._rulebook = Rulebook(self._rules, changed, self._estate_taken_up)
        # Not the beat's: with a clock that was set back meanwhile it would look like one of long ago.
        kept = (row for row in rows if row.rule != BEAT_RULE.id)
        now = self._clock()
        memories = {Key(*row[:4]): not_after(msgspec.convert(row.body, Memory), now) for row in kept}
        self._evaluator = RuleEvaluator(self._rulebook, memories, self._late_window_ms, self._recall, self._unknown)
        await self._take_up_rules()
        await self._end_withdrawn()
        self.suppressing.go_by(self._rulebook)
        await self.suppressing.load()

    async def _take_up_estate(self) -> None:
        """Go by what people have done to equipment since the last look, in whichever process."""
        estate = self._estate()
        if estate is self._estate_taken_up or estate == self._estate_taken_up:
            return
        news = what_changed(self._estate_taken_up, estate)
        self._rulebook = self._rulebook.with_estate(estate)
        self.suppressing.go_by(self._rulebook)
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
        """Bring into order what was decided before the owner knew of a change. Returns the alarms that still stand."""
        if not news:
            return set()
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            return await settle(transaction, news, self._clock())

    async def _take_up_rules(self) -> bool:
        """Go by what people have changed in the rules since the last look, in whichever process; whether anything."""
        async with self._database.reading() as connection:
            news = await versions_after(connection, self._rules_taken_up)
            if not news:
                return False
            held = await overrides(connection, news[-1]["id"])
        changes = [replanned(row) for row in news]
        self._rulebook = self._rulebook.with_overrides(held)
        self.suppressing.go_by(self._rulebook)
        outcome = self._evaluator.take_up(self._rulebook, changes, self._clock())
        await self._commit_taken_up(outcome, changes, news[-1]["id"])
        self._rules_taken_up = news[-1]["id"]
        log.info("changed rules taken up", rules=[f"{item.place.rule} {item.note}" for item in changes])
        return True

    async def _commit_taken_up(self, outcome: Outcome, changes: Sequence[Replanned], newest: int) -> None:
        """In one transaction with the place among the versions: the next owner would not judge by them once more."""
        cause = _RULE_CHANGED

        async def move_on(transaction: Transaction) -> None:
            await self._withdraw(transaction)
            await self._tell_anew(transaction, changes)
            await move_cursor(transaction, RULES_TAKEN_UP, newest)

        try:
            await self._retrying(lambda: self._write(outcome, [], cause, move_on))
        except NOBODYS_FAULT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found and put aside
            log.warning(
                "what follows from changed rules is written one by one", why=reason_of(error), detail=str(error)
            )
            await self._commit(outcome, [], cause)
            await self._retrying(lambda: self._write(Outcome([], {}, []), [], cause, move_on))
        else:
            self._count(outcome.decisions)
            self._failures.note(outcome.failures)

    async def _end_withdrawn(self) -> None:
        """An alarm whose rule is gone could never return by itself: it returns now, and says why."""
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self.suppressing.take_up(transaction)
            await forget_memories_of(transaction, await self._withdraw(transaction))

    async def _tell_anew(self, transaction: Transaction, changes: Sequence[Replanned]) -> None:
        """Open alarms of changed rules say what these say now: how grave it is, and which ticket it wants."""
        written, now = Written(), self._clock()
        for row in await open_alarms_at(transaction, {Scope(item.place.site) for item in changes}):
            note = note_of(changes, key_of(row))
            rule = self._rulebook.in_force(row["rule"], row["site"], row["equipment"]) if note else None
            if rule is not None:
                go_by(row, rule, written, _RULE_CHANGED, now, note)
        await save(transaction, written)

    async def _withdraw(self, transaction: Transaction) -> list[Key]:
        """End the alarms that no rule watches any more. Returns their keys."""
        cause = Cause("system:rules", Via.CLOCK, why="rule withdrawn")
        orphans = await unwatched_alarms(transaction, self._rulebook)
        written = Written()
        for row in orphans:
            withdraw(row, written, cause, self._clock())
        await self.suppressing.weigh(transaction, written, cause, self._clock())
        await save(transaction, written)
        if orphans:
            log.warning(
                "alarms ended because their rule is gone", alarms=[row["open_key"] or row["id"] for row in orphans]
            )
        return [key_of(row) for row in orphans]

    async def decide(self, readings: Sequence[Reading]) -> None:
        """Judge readings; return when what follows is committed. Raises LeaseLost."""
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
        """Let delays end by the clock, and record what nobody has answered in time. Raises LeaseLost."""
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
        await self._retrying(self.suppressing.tick)
        overdue = self.suppressing.overdue()
        if overdue:
            await self._commit(self._evaluator.take(overdue), overdue, CLOCK)

    async def _tick_rules(self) -> None:
        if await self._take_up_rules():
            await self._retrying(lambda: self.suppressing.weigh_all(_RULE_CHANGED))

    async def _tick_delays(self) -> None:
        judged = self._progress(self._clock())
        await self._commit(self._evaluator.tick(judged.until, is_behind=judged.is_behind), [], CLOCK)

    async def _tick_chatter(self) -> None:
        now = self._clock()
        if due := self._damping.due(now, self._progress(now).until):
            await self._retrying(lambda: self._end_chatter(due))

    async def _tick_prompts(self) -> None:
        prompts = self._rulebook.of_type(RuleType.UNANSWERED)
        if prompts:
            missed = await self._retrying(lambda: self._missed(prompts))
            await self._commit(Outcome(missed, {}, []), [], CLOCK)

    def _follow_clock(self) -> None:
        """Have all that is remembered go by the clock as it is set now."""
        now, by = self._clock(), self._steps()
        if by:
            log.warning("the clock was set; what the rules remember goes by the new time", milliseconds=by)
            self._evaluator.clock_was_set(by)
            self._stepped_by, self._stepped_until = by, now + _WAITS_AT_MOST_MS
        elif self._stepped_by and now >= self._stepped_until:
            self._stepped_by = 0

    async def _re_alarm(self) -> None:
        """Have what has stood acknowledged for too long ask again."""
        now = self._clock()
        async with self._database.reading() as connection:  # almost always none: no writer's turn for that
            due = await due_for_re_alarm(connection, now)
        if not due:
            return
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            written = Written()
            for row in (await alarms_by_id(transaction, due)).values():
                if is_due_for_re_alarm(row, now):  # nobody was faster
                    move(row, Event.RE_ALARMED, {}, written, CLOCK, now)
            await save(transaction, written)

    async def _end_chatter(self, due: Sequence[str]) -> None:
        now = self._clock()
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self.suppressing.take_up(transaction)
            written = await ended_chatter(transaction, due, now)
            await self.suppressing.weigh(transaction, written, CLOCK, now)
            await save(transaction, written)
        self._damping.over(due)

    async def _missed(self, prompts: Sequence[Rule]) -> list[Decision]:
        async with self._database.reading() as connection:
            return await unanswered(connection, prompts, self._rulebook, self._clock())

    async def follow_tickets(self) -> None:
        """Work off the tickets' facts until cancelled: who acknowledges a ticket acknowledges its alarm."""
        await self._tickets.run()

    async def _follow(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        """Acknowledge what people have acknowledged by its ticket: each alarm as often active as they saw it."""
        told = [(fact, dict(fact.body.get("alarms", {}))) for fact in facts]
        found = await alarms_by_id(transaction, sorted({identity for _, alarms in told for identity in alarms}))
        written, now = Written(), self._clock()
        for fact, alarms in told:
            cause = Cause(str(fact.body.get("actor", "")), Via.FACT, why=f"fact {fact.id}")
            for identity, activations in alarms.items():
                row = found[identity]
                is_meant = row["activations"] == activations or row["chattering"]
                if State(row["state"]) in WAITING and is_meant:
                    by_person(row, Event.ACKNOWLEDGED, "", written, cause, now)
        await save(transaction, written)

    async def _without_repeats(self, readings: Sequence[Reading], events: list[Reading]) -> list[Reading]:
        """Leave out events that were committed before, and repeats within the batch."""
        known = await self._known_as_far_as_can_be(events)
        fresh: list[Reading] = []
        for reading in readings:
            if reading.digest:
                who = (reading.topic.site, reading.topic.equipment)
                first = known.get(reading.digest)
                if first is not None:
                    if is_repeat(reading, first, self._newest_events.get(who)):
                        continue
                    self._named += 1
                    name_anew(reading, self._named)
                known[reading.digest] = first_delivery(reading)
                self._newest_events[who] = reading
            fresh.append(reading)
        return fresh

    async def _known_as_far_as_can_be(self, events: Sequence[Reading]) -> dict[str, FirstDelivery]:
        """Where nobody can tell, they are taken for new: each is then written, or put aside, by itself."""
        try:
            known: dict[str, FirstDelivery] = await self._retrying(lambda: self._first_deliveries(events))
        except NOBODYS_FAULT:
            raise
        except Exception as error:
            log.error(
                "nobody can tell which events have come before",
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
        """Write what follows; what cannot be written is put aside, and its rule asked again."""
        failures = list(outcome.failures)

        async def write(items: Sequence[_Item]) -> None:
            part = outcome_of(outcome, items)
            fresh = [item for item in items if isinstance(item, Reading)]
            await self._retrying(lambda: self._write(part, fresh, cause))
            self._count(part.decisions)

        async def put_aside(item: _Item, error: Exception) -> None:
            if isinstance(item, Reading):
                failures.append(Failure(no_rule(item.topic), error, item))
                return
            self._evaluator.take_back(item, await self._memory_on_record(item))
            failures.append(Failure(item, error, shown_by(outcome, item, readings)))

        keys = dict.fromkeys((*outcome.memories, *(decision.key for decision in outcome.decisions)))
        events = [reading for reading in readings if reading.digest]
        if keys or events:
            items: list[_Item] = [*keys, *events]
            await isolate_failure(items, write, put_aside)
        kept = self._failures.note(failures)
        if kept:
            await self._quarantine.keep(kept)

    def _count(self, decisions: Sequence[Decision]) -> None:
        committed_at = self._clock()
        for decision in told_apart(decisions)[0]:
            if decision.change.raised:
                self._metrics.raised.labels(decision.rule.priority.value).inc()
                self._metrics.latency.observe(max(0, committed_at - decision.received_at) / 1000)

    async def _memory_on_record(self, key: Key) -> Memory:
        """What to go on from; nothing, where not even that can be read: the next sample then decides anew."""
        try:
            found: Memory = await self._retrying(lambda: recorded_memory(self._database, key))
        except NOBODYS_FAULT:
            raise
        except Exception as error:
            log.error("the memory of a rule cannot be read", key=str(key), why=reason_of(error), exc_info=error)
            return FRESH
        return found

    async def _retrying(self, work: Any) -> Any:
        """Do it until the database lets us: what is decided must be written, and nothing is acknowledged before."""
        while True:
            try:
                result = await work()
            except DatabaseTrouble as error:
                why = in_plain_words(error)
                if not self.trouble:
                    log.error("decisions wait: the database does not take them", why=why, detail=str(error))
                self.trouble = why
                self._metrics.retries.inc()
                self.waited += 1
                await asyncio.sleep(0 if self._database.take_made_room() else _RETRY_S)
            else:
                self.trouble = ""
                return result

    async def _write(self, outcome: Outcome, events: list[Reading], cause: Cause, also: _Also | None = None) -> None:
        decisions, beats = told_apart(outcome.decisions)
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await self.suppressing.take_up(transaction)
            open_alarms = await open_alarms_of(transaction, {str(item.key) for item in decisions})
            known = await known_activations(transaction, decisions)
            await keep_events(transaction, events, await first_deliveries(transaction, events))
            now = self._clock()
            seen = await verified(transaction, decisions, open_alarms)
            written = write_up(decisions, open_alarms, known, cause, now, seen, self._damping.is_chatter)
            written.facts.extend(proofs(beats, now))
            await self.suppressing.weigh(transaction, written, cause, now)
            await save(transaction, written)
            await keep_memories(transaction, outcome.memories)
            if also is not None:
                await also(transaction)
        self._damping.note(written, now)


_Item = Key | Reading
"""What one can write, or must put aside, by itself: all that became of a key, or an event."""
