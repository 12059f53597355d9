"""Gets to know equipment: which rules watch which channel of what has been heard. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from collectors.fields import Channel, Kind
from collectors.reading import Value
from collectors.topics import Topic
from gateway.alarms.agenda import BY_CLOCK, Agenda
from gateway.alarms.rules import FRESH, Memory, Rule, RuleType, is_for
from gateway.alarms.silence import Silence
from gateway.alarms.stations import Guard, Key, Plan, Station, Watch

_STATUS_FIELDS: Final = frozenset({"online"})
Recall = Callable[[str, str], Mapping[str, Value]]
"""(site, equipment) -> the values that are known from before the start."""


def nothing_known(_site: str, _equipment: str) -> Mapping[str, Value]:
    """Where no values are kept from before the start."""
    return {}


def is_watched(alarm: Mapping[str, Any], rules: Iterable[Rule]) -> bool:
    """Whether some rule could still end this open alarm: its own, for this equipment and with parts as it has."""
    applying = [rule for rule in rules if rule.kind.value == alarm["kind"] and is_for(rule, alarm["equipment"])]
    replaced = {identity for rule in applying for identity in rule.instead_of}
    return any(
        rule.id == alarm["rule"]
        and rule.id not in replaced
        and bool(alarm["part"]) <= bool(rule.per or rule.per_otherwise)
        for rule in applying
    )


def status_of(topic: Topic) -> Topic:
    """The channel on which the same equipment is said to be online or not."""
    return Topic(topic.site, topic.kind, topic.equipment, Channel.STATUS)


class KnownEquipment:
    """Every channel of every equipment that has been heard, with the rules on it."""

    def __init__(self, rules: Iterable[Rule], memories: Mapping[Key, Memory], recall: Recall, agenda: Agenda) -> None:
        self.stations: dict[Topic, Station] = {}
        self._rules = list(rules)
        self._plans = {rule.id: Plan(rule) for rule in self._rules}
        self._memories = dict(memories)
        self._recall_values = recall
        self._agenda = agenda
        self._standing: dict[tuple[str, str, str], list[Key]] = {}
        self._recall()

    def _recall(self) -> None:
        """Go on where the service stopped: delays that ran run on, a reset finds the parts that stand."""
        rules = {rule.id: rule for rule in self._rules}
        for key, memory in self._memories.items():
            if memory.active:
                self._standing.setdefault((key.site, key.equipment, key.rule), []).append(key)
            rule = rules.get(key.rule)
            if rule is not None and (memory.pending_since is not None or rule.type in BY_CLOCK):
                channel = Channel.STATUS if rule.field in _STATUS_FIELDS else Channel.TELEMETRY
                topic = Topic(key.site, rule.kind, key.equipment, channel)
                if topic not in self.stations:
                    self.add_station(topic)

    def add_station(self, topic: Topic) -> Station:
        """A channel that is heard for the first time."""
        station = self.stations[topic] = Station()
        rules = [rule for rule in self._rules if rule.kind is topic.kind and is_for(rule, topic.equipment)]
        known = self._recall_values(topic.site, topic.equipment)
        station.recalled = {
            name for rule in rules if rule.when is not None for name in self._plans[rule.id].inputs if name in known
        }
        # Also what conditions ask for; all else is looked at when it comes.
        asked = station.recalled.union(*(rule.condition for rule in rules))
        station.values = {name: known[name] for name in asked if name in known}
        replaced = {identity for rule in rules for identity in rule.instead_of}
        for rule in rules:
            if rule.id not in replaced:
                self._add_rule(station, topic, rule)
        return station

    def _add_rule(self, station: Station, topic: Topic, rule: Rule) -> None:
        if rule.type is RuleType.NO_DATA:
            self._add_silence(station, topic, rule)
            return
        if rule.type is RuleType.EVENT:
            if topic.channel is Channel.EVENT:
                station.by_event.append(rule)
                for key in self._standing.get((topic.site, topic.equipment, rule.id), ()):
                    self.add_watch(station, key, topic.kind, rule)
            return
        if topic.channel is Channel.EVENT or rule.type is RuleType.UNANSWERED:
            return
        if (rule.field in _STATUS_FIELDS) is not (topic.channel is Channel.STATUS):
            return
        watch = self.add_watch(station, Key(topic.site, topic.equipment, "", rule.id), topic.kind, rule)
        plan = self._plans[rule.id]
        for name in plan.inputs:
            if rule.type is RuleType.RATE:
                station.by_series.setdefault(name, []).append(watch)
            elif name in plan.differing:
                station.by_state.setdefault(name, []).append(watch)
        for name in plan.guarded:
            guard = watch.guards[name] = Guard(watch)
            station.by_limit.setdefault(name, []).append(guard)

    def _add_silence(self, station: Station, topic: Topic, rule: Rule) -> None:
        """Who is silent on one channel and offline on another has one alarm; it stands with the status."""
        key = Key(topic.site, topic.equipment, "", rule.id)
        if topic.channel is Channel.STATUS:
            watch = station.online_of = self.add_watch(station, key, topic.kind, rule)
            watch.silence = silence = Silence(rule, watch.memory)
            if silence.interval and not silence.silent:
                self._agenda.remind(station, watch, silence.due_at)
        elif topic.channel is rule.channel:
            status = status_of(topic)
            station.silence = (self.stations.get(status) or self.add_station(status)).watches[key].silence

    def add_watch(self, station: Station, key: Key, kind: Kind, rule: Rule) -> Watch:
        """One rule on one part, as it was remembered."""
        watch = station.watches[key] = Watch(key, kind, self._plans[rule.id], self._memories.get(key, FRESH))
        if watch.memory.pending_since is not None:
            self._agenda.unsettle(station, key)
        if rule.type is RuleType.COUNT and watch.memory.active:
            self._agenda.counting[watch] = station
        if rule.type is RuleType.ABSENCE and watch.seen_at is not None:
            self._agenda.note(station, watch)
        return watch
