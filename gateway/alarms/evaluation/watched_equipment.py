"""Gets to know equipment: which rules watch which channel of what has been heard. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import MOST_WATCHES, Guard, Plan, Station, Watch
from gateway.alarms.evaluation.clock_steps import move_station, moved_memory
from gateway.alarms.evaluation.doubtful import DOUBTFUL, UNKNOWN_YET
from gateway.alarms.evaluation.no_data import Silence
from gateway.alarms.evaluation.schedule import BY_CLOCK, Agenda
from gateway.alarms.evaluation.unknown_equipment import UnknownEquipment
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import FRESH, Memory, Rule, RuleType
from gateway.alarms.rules.rulebook import Rulebook

_STATUS_FIELDS: Final = frozenset({"online"})
Recall = Callable[[str, str], Mapping[str, Value]]
"""(site, equipment) -> the values that are known from before the start."""


def nothing_known(_site: str, _equipment: str) -> Mapping[str, Value]:
    """Where no values are kept from before the start."""
    return {}


def is_watched(alarm: Mapping[str, Any], rulebook: Rulebook) -> bool:
    """Whether some rule could still end this open alarm: its own, for this equipment and with parts as it has."""
    rules = rulebook.rules_for(alarm["site"], Kind(alarm["kind"]), alarm["equipment"])
    return any(
        rule.id == alarm["rule"] and bool(alarm["part"]) <= bool(rule.per or rule.per_otherwise) for rule in rules
    )


def channel_of(rule: Rule) -> Channel:
    """Where a rule looks."""
    if rule.type is RuleType.EVENT:
        return Channel.EVENT
    return Channel.STATUS if rule.field in _STATUS_FIELDS else Channel.TELEMETRY


def status_of(topic: Topic) -> Topic:
    """The channel on which the same equipment is said to be online or not."""
    return Topic(topic.site, topic.kind, topic.equipment, Channel.STATUS)


def _renamed(key: Key, site: str, code: str, new: str) -> Key:
    return key._replace(equipment=new) if key[:2] == (site, code) else key


class KnownEquipment:
    """Every channel of every equipment that has been heard, with the rules on it."""

    def __init__(
        self,
        rulebook: Rulebook,
        memories: Mapping[Key, Memory],
        recall: Recall,
        agenda: Agenda,
        unknown: UnknownEquipment | None = None,
    ) -> None:
        self.stations: dict[Topic, Station] = {}
        self.unknown = UnknownEquipment() if unknown is None else unknown
        self.rulebook = rulebook
        self.recall_values = recall
        self._plans: dict[str, Plan] = {}
        self._memories = dict(memories)
        self._agenda = agenda
        self._standing: dict[tuple[str, str, str], list[Key]] = {}
        self._recall()

    def _recall(self) -> None:
        """Go on where the service stopped: delays that ran run on, a reset finds the parts that stand or latch."""
        for key, memory in self._memories.items():
            rule = self.rulebook.in_force(key.rule, key.site, key.equipment)
            if memory.active or (rule is not None and rule.latching):
                self._standing.setdefault((key.site, key.equipment, key.rule), []).append(key)
            if rule is not None and (memory.pending_since is not None or rule.type in BY_CLOCK):
                self._know(key, rule)

    def _know(self, key: Key, rule: Rule) -> None:
        topic = Topic(key.site, rule.kind, key.equipment, channel_of(rule))
        if topic not in self.stations:
            self.add_station(topic)

    def know_what_stands(self, is_concerned: Callable[[Key], bool]) -> None:
        """Know the equipment of alarms that stand, also where it has said nothing since the start."""
        for key, memory in self._memories.items():
            rule = self.rulebook.in_force(key.rule, key.site, key.equipment) if is_concerned(key) else None
            if rule is not None and memory.active:
                self._know(key, rule)

    def forget_what_was_off(self, is_concerned: Callable[[Key], bool]) -> None:
        """A rule that comes into force again goes on with nothing from before it was taken out of it."""
        for key, memory in tuple(self._memories.items()):
            if is_concerned(key) and self.rulebook.in_force(key.rule, key.site, key.equipment) is None:
                self.put_to_rest(key, Memory(changed_at=memory.changed_at))

    def put_to_rest(self, key: Key, memory: Memory) -> Memory:
        """Remember of a rule that is out of force when it was, and nothing else. Returns that memory."""
        self._memories[key] = memory
        standing = self._standing.get((key.site, key.equipment, key.rule), [])
        if key in standing:
            standing.remove(key)
        return memory

    def forget(self, is_gone: Callable[[str, str, Kind], bool], standing: Collection[Key] = ()) -> None:
        """Forget channels and delays that run of equipment: (site, code, kind) says whose.

        What is remembered of `standing` alarms stays, so that they can return.
        """
        gone = [topic for topic in self.stations if is_gone(topic.site, topic.equipment, topic.kind)]
        self._memories |= {
            key: watch.memory
            for topic in gone
            for key, watch in self.stations[topic].watches.items()
            if key in standing
        }
        self._leave(gone)
        for key in [key for key in self._memories if key not in standing and self._is_gone(key, is_gone)]:
            del self._memories[key]
        for of, keys in tuple(self._standing.items()):
            self._standing[of] = [key for key in keys if key in self._memories]
        self._stand(standing)

    def _leave(self, topics: Iterable[Topic]) -> None:
        """Watch channels no more."""
        stations = []
        for topic in topics:
            stations.append(self.stations.pop(topic))
            self.unknown.leave(topic)
        self._agenda.forget(stations)

    def _stand(self, standing: Collection[Key]) -> None:
        """Have alarms that stand found by what ends them: a reset, the clock."""
        for key in standing:
            found = self._standing.setdefault((key.site, key.equipment, key.rule), [])
            if key not in found and key in self._memories:
                found.append(key)
        self.know_what_stands(lambda key: key in standing)

    def _is_gone(self, key: Key, is_gone: Callable[[str, str, Kind], bool]) -> bool:
        rule = self.rulebook.described(key.rule, key.site, key.equipment)
        return rule is not None and is_gone(key.site, key.equipment, rule.kind)

    def rename(self, site: str, code: str, new: str) -> None:
        """Let everything that is known of an equipment go on under its new code."""
        for topic in [topic for topic in self.stations if (topic.site, topic.equipment) == (site, code)]:
            station = self.stations.pop(topic)
            self.unknown.leave(topic)
            renamed = Topic(site, topic.kind, new, topic.channel)
            if renamed in self.stations:  # heard before anybody knew that both are one
                self._leave([renamed])
            self.stations[renamed] = station
            station.is_unknown = self.unknown.meet(renamed)
            station.rename(new)
        self._memories = {_renamed(key, site, code, new): memory for key, memory in self._memories.items()}
        for of in [of for of in self._standing if of[:2] == (site, code)]:
            keys = [_renamed(key, site, code, new) for key in self._standing.pop(of)]
            self._standing[site, new, of[2]] = keys

    def add_station(self, topic: Topic) -> Station:
        """A channel that is heard for the first time."""
        station = self.stations[topic] = Station()
        station.is_unknown = self.unknown.meet(topic)
        rules = self.rulebook.rules_for(topic.site, topic.kind, topic.equipment)
        known = self.recall_values(topic.site, topic.equipment)
        station.recalled = {
            name for rule in rules if rule.when is not None for name in self._plan(rule).inputs if name in known
        }
        # Also what conditions ask for; all else is looked at when it comes.
        asked = station.recalled.union(*(rule.condition for rule in rules))
        station.values = {name: known[name] for name in asked if name in known}
        for rule in rules:
            self._add_rule(station, topic, rule)
        if any(watch.memory.active for watch in station.by_state.get(DOUBTFUL, ())):
            station.doubtful = UNKNOWN_YET
        return station

    def make_room(self, heard: Topic) -> dict[Key, Memory]:
        """Forget unknown equipment beyond what is kept. Returns what is to be forgotten of its rules' memory.

        `heard` is being judged just now and stays; so does what waits for a delay of life safety.
        """

        def keeps(channels: list[Topic]) -> bool:
            who = channels[0].site, channels[0].equipment
            return who == (heard.site, heard.equipment) or any(self._is_urgent(topic) for topic in channels)

        gone = list(self.unknown.surplus(keeps))
        if not gone:
            return {}
        forgotten: dict[Key, Memory] = {}
        stations = [self.stations.pop(topic) for topic in gone]
        self._agenda.forget(stations)
        for station in stations:
            for key, watch in station.watches.items():
                if watch.memory.active or watch.memory.pending_since is not None:
                    self._memories[key] = watch.memory  # its alarm stands: heard again, it goes on from here
                else:
                    forgotten[key] = FRESH
                    self._memories.pop(key, None)
        return forgotten

    def _forget_quiet_parts(self, station: Station) -> None:
        """A panel that makes up ever new addresses must not fill the memory: parts on which nothing stands go."""
        quiet = [
            key for key, watch in station.watches.items()
            if watch.rule.type is RuleType.EVENT and not watch.memory.active and key not in station.unsettled
        ]  # fmt: skip
        for key in quiet:
            del station.watches[key]
            self._memories.pop(key, None)
        station.most_watches = max(MOST_WATCHES, 2 * len(station.watches))

    def _is_urgent(self, topic: Topic) -> bool:
        station = self.stations[topic]
        return any(station.watches[key].rule.life_safety for key in station.unsettled if key in station.watches)

    def watch_anew(self, topic: Topic, station: Station) -> dict[Key, Watch]:
        """Have the rules that are in force now watch a channel. Returns the watches that are no more."""
        before = station.without_watches()
        for rule in self.rulebook.rules_for(topic.site, topic.kind, topic.equipment):
            for key, watch in before.items():
                if key.rule == rule.id:
                    watch.follow(self._plan(rule))
                    station.watches[key] = watch
            self._add_rule(station, topic, rule)
        return {key: watch for key, watch in before.items() if key not in station.watches}

    def clock_was_set(self, by: int) -> None:
        """Have all that is remembered go by a clock that shows `by` ms more."""
        self._memories = {key: moved_memory(memory, by, measured=by < 0) for key, memory in self._memories.items()}
        for station in self.stations.values():
            move_station(station, by)

    def _plan(self, rule: Rule) -> Plan:
        """Worked out once for all equipment where nobody has changed the rule."""
        plan = self._plans.get(rule.id)
        if plan is None or plan.rule is not rule:
            plan = Plan(rule)
            if self.rulebook.filed.get(rule.id) is rule:
                self._plans[rule.id] = plan
        return plan

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
        if channel_of(rule) is not topic.channel:
            return
        watch = self.add_watch(station, Key(topic.site, topic.equipment, "", rule.id), topic.kind, rule)
        plan = self._plan(rule)
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
            if watch.silence is not None:  # it is known already; what is changed is the rule
                watch.silence.rule = rule
                return
            watch.silence = silence = Silence(rule, watch.memory)
            if silence.interval and not silence.silent:
                self._agenda.remind(station, watch, silence.due_at)
        elif topic.channel is rule.channel or topic.channel is Channel.EVENT:
            status = status_of(topic)
            station.silence = (self.stations.get(status) or self.add_station(status)).watches[key].silence
            station.begins_silence = topic.channel is rule.channel

    def add_watch(self, station: Station, key: Key, kind: Kind, rule: Rule) -> Watch:
        """One rule on one part, as it was remembered."""
        if key in station.watches:
            return station.watches[key]
        if len(station.watches) >= station.most_watches:
            self._forget_quiet_parts(station)
        watch = station.watches[key] = Watch(key, kind, self._plan(rule), self._memories.get(key, FRESH))
        if watch.memory.pending_since is not None:
            self._agenda.unsettle(station, key)
        if rule.type is RuleType.COUNT and watch.memory.active:
            self._agenda.counting[watch] = station
        if rule.type is RuleType.ABSENCE and watch.seen_at is not None:
            self._agenda.note(station, watch)
        return watch
