"""Detects equipment that falls silent, is reported offline, or reports again. Pure."""

from collections.abc import Mapping

from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import ChannelState, RuleInstance
from gateway.alarms.evaluation.no_data import Silence
from gateway.alarms.evaluation.outcomes import Outcome, keep
from gateway.alarms.evaluation.schedule import Schedule
from gateway.alarms.evaluation.watched_equipment import status_of
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import Judgement, judge_in_order


def check_silence(
    schedule: Schedule,
    channel_state: ChannelState,
    instance: RuleInstance,
    silence: Silence,
    now: int,
    listening_since: int,
    outcome: Outcome,
) -> None:
    """Check whether equipment has been silent for too long, and schedule the next check."""
    silence.check(now, listening_since)
    if silence.silent:
        judge_silence(schedule, channel_state, instance, silence, now, outcome)
    else:
        keep(instance, Judgement(instance.memory), {}, now, outcome)
        schedule.remind(channel_state, instance, silence.due_at)


def receive(
    schedule: Schedule,
    channel_states: Mapping[Topic, ChannelState],
    silence: Silence,
    reading: Reading,
    outcome: Outcome,
) -> None:
    """Take a message after an unusually long gap, or the first one."""
    was_silent, received_at = silence.silent, reading.received_at
    if not silence.receive(received_at):
        return
    topic = reading.topic
    channel_state = channel_states[status_of(topic)]
    instance = channel_state.instances[Key(topic.site, topic.equipment, "", silence.rule.id)]
    schedule.remind(channel_state, instance, silence.due_at)
    if was_silent:
        judge_silence(schedule, channel_state, instance, silence, received_at, outcome)


def take_online(
    schedule: Schedule, channel_state: ChannelState, instance: RuleInstance, reading: Reading, outcome: Outcome
) -> None:
    """Take a status, in the order of arrival: the broker itself sends the last will."""
    online = reading.fields.get("online")
    if instance.silence is not None and isinstance(online, bool):
        instance.silence.online = online
        judge_silence(schedule, channel_state, instance, instance.silence, reading.received_at, outcome)


def judge_silence(
    schedule: Schedule,
    channel_state: ChannelState,
    instance: RuleInstance,
    silence: Silence,
    now: int,
    outcome: Outcome,
) -> None:
    """Judge the rule by the equipment's silence and online status."""
    values: dict[str, Value] = {} if silence.online else {"online": False}
    schedule.unsettle(channel_state, instance.key)
    keep(instance, judge_in_order(instance.rule, instance.memory, silence.is_breached, now), values, now, outcome)
    if instance.memory.pending_since is None:
        channel_state.unsettled.discard(instance.key)
