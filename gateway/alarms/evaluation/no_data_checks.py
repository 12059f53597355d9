"""Who has fallen silent, who is said to be offline, and who speaks again. Pure."""

from collections.abc import Mapping

from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import Station, Watch
from gateway.alarms.evaluation.no_data import Silence
from gateway.alarms.evaluation.outcomes import Outcome, keep
from gateway.alarms.evaluation.schedule import Agenda
from gateway.alarms.evaluation.watched_equipment import status_of
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import Judgement, judge_in_order


def check_silence(
    agenda: Agenda, station: Station, watch: Watch, silence: Silence, now: int, listening_since: int, outcome: Outcome
) -> None:
    """Look whether it has been silent for too long, and when to look again."""
    silence.check(now, listening_since)
    if silence.silent:
        judge_silence(agenda, station, watch, silence, now, outcome)
    else:
        keep(watch, Judgement(watch.memory), {}, now, outcome)
        agenda.remind(station, watch, silence.due_at)


def hear(
    agenda: Agenda, stations: Mapping[Topic, Station], silence: Silence, reading: Reading, outcome: Outcome
) -> None:
    """A message that came after an unusual time, or the first one."""
    was_silent, received_at = silence.silent, reading.received_at
    if not silence.hear(received_at):
        return
    topic = reading.topic
    station = stations[status_of(topic)]
    watch = station.watches[Key(topic.site, topic.equipment, "", silence.rule.id)]
    agenda.remind(station, watch, silence.due_at)
    if was_silent:
        judge_silence(agenda, station, watch, silence, received_at, outcome)


def take_online(agenda: Agenda, station: Station, watch: Watch, reading: Reading, outcome: Outcome) -> None:
    """The status counts in the order of its arrival: the broker itself sends the last will."""
    online = reading.fields.get("online")
    if watch.silence is not None and isinstance(online, bool):
        watch.silence.online = online
        judge_silence(agenda, station, watch, watch.silence, reading.received_at, outcome)


def judge_silence(agenda: Agenda, station: Station, watch: Watch, silence: Silence, now: int, outcome: Outcome) -> None:
    """Have the rule decide on what is known of the equipment's silence."""
    said: dict[str, Value] = {} if silence.online else {"online": False}
    agenda.unsettle(station, watch.key)
    keep(watch, judge_in_order(watch.rule, watch.memory, silence.is_breached, now), said, now, outcome)
    if watch.memory.pending_since is None:
        station.unsettled.discard(watch.key)
