"""Loads changed rules while the service runs: the equipment concerned is re-evaluated, all else continues. Pure.

A rule with the same inputs and limits keeps its memory, even if its delay or its text differs. A rule with other inputs
or limits judges the newest values at once, as after a fresh start.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from collectors.wire.fields import Channel, Kind
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import SERIES, ChannelState, RuleInstance
from gateway.alarms.evaluation.no_data_checks import judge_silence
from gateway.alarms.evaluation.outcomes import Alone, Outcome, keep
from gateway.alarms.evaluation.schedule import Schedule
from gateway.alarms.evaluation.watched_equipment import WatchedEquipment
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import FRESH, Change, Judgement, Memory, Rule, RuleType, is_breached, looks_alike
from gateway.alarms.rules.rulebook import Rulebook, RuleScope
from gateway.alarms.rules.series import is_series_breached


class Replanned(msgspec.Struct, frozen=True):
    """The scope in which a rule was changed, and the note for the journal."""

    place: RuleScope
    note: str


def replanned(version: Mapping[str, Any]) -> Replanned:
    """The change that a row of a rule version describes."""
    place = RuleScope(version["rule"], version["site"], version["equipment"])
    return Replanned(place, f"rule changed: version {version['version']} for {place}")


def note_of(changes: Iterable[Replanned], key: Key) -> str:
    """The journal's note on the change that concerns an alarm; "" if none does."""
    return _note_for({item.place: item.note for item in changes}, key.rule, key.site, key.equipment)


def take_up(
    known: WatchedEquipment, schedule: Schedule, rulebook: Rulebook, changes: Iterable[Replanned], now: int
) -> Outcome:
    """Apply another rulebook from now on.

    Args:
        known: all equipment that has sent a message.
        schedule: of the ticks.
        rulebook: in force from now on.
        changes: where it differs from the one before.
        now: epoch ms.
    """
    before, outcome = known.rulebook, Outcome([], {}, [])
    notes = {item.place: item.note for item in changes}

    def is_concerned(key: Key) -> bool:
        return bool(_note_for(notes, key.rule, key.site, key.equipment))

    known.load_active(is_concerned)
    known.forget_disabled(is_concerned)
    known.rulebook = rulebook
    places = {(place.site, _kind_of(place, before, rulebook), place.equipment) for place in notes}
    # Silence is judged with the status: its channel comes first.
    for topic in sorted(known.channel_states, key=lambda topic: topic.channel is not Channel.STATUS):
        if {(topic.site, topic.kind, topic.equipment), (topic.site, topic.kind, "")} & places:
            with Alone(Key(topic.site, topic.equipment, "", ""), None, outcome):
                _replan(known, schedule, topic, notes, now, outcome)
    return outcome


def _kind_of(place: RuleScope, *rulebooks: Rulebook) -> Kind | None:
    found = (rulebook.described(*place) for rulebook in rulebooks)
    return next((rule.kind for rule in found if rule is not None), None)


def _note_for(notes: Mapping[RuleScope, str], rule: str, site: str, equipment: str) -> str:
    return next((note for place, note in notes.items() if place.covers(rule, site, equipment)), "")


def _replan(
    known: WatchedEquipment,
    schedule: Schedule,
    topic: Topic,
    notes: Mapping[RuleScope, str],
    now: int,
    outcome: Outcome,
) -> None:
    channel_state = known.channel_states[topic]
    were = {key: instance.rule for key, instance in channel_state.instances.items()}
    gone = known.replan(topic, channel_state)
    schedule.remove(channel_state, gone.values())
    for key, instance in gone.items():
        if instance.memory != FRESH:
            outcome.memories[key] = known.deactivate(key, _at_rest(channel_state, instance.memory, now))
    news = [
        instance
        for key, instance in channel_state.instances.items()
        if key not in were or not looks_alike(were[key], instance.rule)
    ]
    _fill_in(known, topic, channel_state, news)
    for instance in news:
        if instance.rule.type is RuleType.EVENT:
            continue
        part = Outcome([], outcome.memories, outcome.failures)
        with Alone(instance.key, None, outcome):
            _judge_anew(schedule, channel_state, instance, now, part)
        note = _note_for(notes, instance.key.rule, topic.site, topic.equipment) or "another rule was changed"
        outcome.decisions.extend(decision._replace(note=note) for decision in part.decisions)


def _at_rest(channel_state: ChannelState, memory: Memory, now: int) -> Memory:
    """Memory of a disabled rule: decisions after it is enabled again are later than all earlier ones."""
    return Memory(changed_at=max(_device_time(channel_state, now), memory.changed_at + 1))


def _fill_in(
    known: WatchedEquipment, topic: Topic, channel_state: ChannelState, instances: Iterable[RuleInstance]
) -> None:
    """Use values from before the start for fields not reported since."""
    recalled = known.recall_values(topic.site, topic.equipment)
    for instance in instances:
        missing = {
            name: recalled[name] for name in instance.inputs if name in recalled and name not in channel_state.values
        }
        channel_state.values.update(missing)
        channel_state.recalled |= missing.keys()


def _judge_anew(
    schedule: Schedule, channel_state: ChannelState, instance: RuleInstance, now: int, outcome: Outcome
) -> None:
    if instance.silence is not None:
        _judge_silence_anew(schedule, channel_state, instance, now, outcome)
        return
    breached = _is_instance_breached(instance, channel_state, now)
    judgement = judge_anew(instance.rule, instance.memory, breached, channel_state, now)
    instance.settle_at = 0
    schedule.unsettle(
        channel_state, instance.key
    )  # stays so while a delay runs: the next sample or tick evaluates it again
    keep(instance, judgement, channel_state.values, now, outcome)
    if instance.memory.active is breached or breached is None:
        channel_state.unsettled.discard(instance.key)
    if instance.rule.type is RuleType.ABSENCE:
        schedule.remove(channel_state, [instance])
        instance.reminded = instance.seen_at is None
    if instance.rule.type is not RuleType.ABSENCE or not instance.reminded:
        schedule.note(channel_state, instance)


def _is_instance_breached(instance: RuleInstance, channel_state: ChannelState, now: int) -> bool | None:
    rule = instance.rule
    if rule.type in SERIES:
        return is_series_breached(rule, instance.points, _device_time(channel_state, now), active=False)
    if rule.type is RuleType.ABSENCE:
        return None if instance.seen_at is None else not instance.happening and now - instance.seen_at >= rule.after
    return is_breached(rule, channel_state.values, active=False)


def judge_anew(rule: Rule, memory: Memory, breached: bool | None, channel_state: ChannelState, now: int) -> Judgement:
    """Judge the newest values by a changed rule: a breach waits for its delay, an alarm without one ends at once."""
    if breached is None:
        return Judgement(memory)
    newest_at, received_at = channel_state.newest_at or now, channel_state.received_at or now
    if breached is memory.active:
        return Judgement(Memory(memory.active, memory.changed_at, memory.known_at))
    if breached and rule.on_delay:
        return Judgement(Memory(False, memory.changed_at, memory.known_at, newest_at, received_at))
    # Its own time, later than any before: the same sample may have raised it under another version of the rule.
    at = max(_device_time(channel_state, now), memory.changed_at + 1)
    return Judgement(Memory(breached, at, newest_at), (Change(breached, at),))


def _device_time(channel_state: ChannelState, now: int) -> int:
    """The current time by the device's clock."""
    return channel_state.newest_at + now - channel_state.received_at if channel_state.newest_at else now


def _judge_silence_anew(
    schedule: Schedule, channel_state: ChannelState, instance: RuleInstance, now: int, outcome: Outcome
) -> None:
    """End silence that is within the new limit; the next tick checks for silence beyond it."""
    silence = instance.silence
    if silence is None:
        return
    if silence.last_received_at:
        silence.silent = silence.silent and now - silence.last_received_at >= silence.limit
        silence.due_at = max(now, silence.last_received_at + silence.limit)
        schedule.remind(channel_state, instance, silence.due_at)
    judge_silence(schedule, channel_state, instance, silence, now, outcome)
