"""Gets to know equipment: which rules watch which channel of what has been heard. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import MOST_INSTANCES, ChannelState, Plan, QuietBand, RuleInstance
from gateway.alarms.evaluation.clock_steps import move_channel_state, moved_memory
from gateway.alarms.evaluation.doubtful import DOUBTFUL, UNKNOWN_YET
from gateway.alarms.evaluation.no_data import Silence
from gateway.alarms.evaluation.schedule import BY_CLOCK, Schedule
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


class WatchedEquipment:
    """Every channel of every equipment that has been heard, with the rules on it."""

    def __init__(
        self,
        rulebook: Rulebook,
        memories: Mapping[Key, Memory],
        recall: Recall,
        schedule: Schedule,
        unknown: UnknownEquipment | None = None,
    ) -> None:
        self.channel_states: dict[Topic, ChannelState] = {}
        self.unknown = UnknownEquipment() if unknown is None else unknown
        self.rulebook = rulebook
        self.recall_values = recall
        self._plans: dict[str, Plan] = {}
        self._memories = dict(memories)
        self._schedule = schedule
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
        if topic not in self.channel_states:
            self.add_channel(topic)

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

    def add_channel(self, topic: Topic) -> ChannelState:
        """A channel that is heard for the first time."""
        channel_state = self.channel_states[topic] = ChannelState()
        channel_state.is_unknown = self.unknown.meet(topic)
        rules = self.rulebook.rules_for(topic.site, topic.kind, topic.equipment)
        known = self.recall_values(topic.site, topic.equipment)
        channel_state.recalled = {
            name for rule in rules if rule.when is not None for name in self._plan(rule).inputs if name in known
        }
        # Also what conditions ask for; all else is looked at when it comes.
        asked = channel_state.recalled.union(*(rule.condition for rule in rules))
        channel_state.values = {name: known[name] for name in asked if name in known}
        for rule in rules:
            self._add_rule(channel_state, topic, rule)
        if any(instance.memory.active for instance in channel_state.by_state.get(DOUBTFUL, ())):
            channel_state.doubtful = UNKNOWN_YET
        return channel_state

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
        channel_states = [self.channel_states.pop(topic) for topic in gone]
        self._schedule.forget(channel_states)
        for channel_state in channel_states:
            for key, instance in channel_state.instances.items():
                if instance.memory.active or instance.memory.pending_since is not None:
                    self._memories[key] = instance.memory  # its alarm stands: heard again, it goes on from here
                else:
                    forgotten[key] = FRESH
                    self._memories.pop(key, None)
        return forgotten

    def _forget_quiet_parts(self, channel_state: ChannelState) -> None:
        """A panel that makes up ever new addresses must not fill the memory: parts on which nothing stands go."""
        quiet = [
            key for key, instance in channel_state.instances.items()
            if instance.rule.type is RuleType.EVENT and not instance.memory.active and key not in channel_state.unsettled
        ]  # fmt: skip
        for key in quiet:
            del channel_state.instances[key]
            self._memories.pop(key, None)
        channel_state.most_watches = max(MOST_INSTANCES, 2 * len(channel_state.instances))

    def _is_urgent(self, topic: Topic) -> bool:
        channel_state = self.channel_states[topic]
        return any(
            channel_state.instances[key].rule.life_safety
            for key in channel_state.unsettled
            if key in channel_state.instances
        )

    def watch_anew(self, topic: Topic, channel_state: ChannelState) -> dict[Key, RuleInstance]:
        """Have the rules that are in force now watch a channel. Returns the watches that are no more."""
        before = channel_state.without_instances()
        for rule in self.rulebook.rules_for(topic.site, topic.kind, topic.equipment):
            for key, instance in before.items():
                if key.rule == rule.id:
                    instance.follow(self._plan(rule))
                    channel_state.instances[key] = instance
            self._add_rule(channel_state, topic, rule)
        return {key: instance for key, instance in before.items() if key not in channel_state.instances}

    def clock_was_set(self, by: int) -> None:
        """Have all that is remembered go by a clock that shows `by` ms more."""
        self._memories = {key: moved_memory(memory, by, measured=by < 0) for key, memory in self._memories.items()}
        for channel_state in self.channel_states.values():
            move_channel_state(channel_state, by)

    def _plan(self, rule: Rule) -> Plan:
        """Worked out once for all equipment where nobody has changed the rule."""
        plan = self._plans.get(rule.id)
        if plan is None or plan.rule is not rule:
            plan = Plan(rule)
            if self.rulebook.filed.get(rule.id) is rule:
                self._plans[rule.id] = plan
        return plan

    def _add_rule(self, channel_state: ChannelState, topic: Topic, rule: Rule) -> None:
        if rule.type is RuleType.NO_DATA:
            self._add_silence(channel_state, topic, rule)
            return
        if rule.type is RuleType.EVENT:
            if topic.channel is Channel.EVENT:
                channel_state.by_event.append(rule)
                for key in self._standing.get((topic.site, topic.equipment, rule.id), ()):
                    self.add_watch(channel_state, key, topic.kind, rule)
            return
        if topic.channel is Channel.EVENT or rule.type is RuleType.UNANSWERED:
            return
        if channel_of(rule) is not topic.channel:
            return
        instance = self.add_watch(channel_state, Key(topic.site, topic.equipment, "", rule.id), topic.kind, rule)
        plan = self._plan(rule)
        for name in plan.inputs:
            if rule.type is RuleType.RATE:
                channel_state.by_series.setdefault(name, []).append(instance)
            elif name in plan.differing:
                channel_state.by_state.setdefault(name, []).append(instance)
        for name in plan.guarded:
            quiet = instance.bands_by_field[name] = QuietBand(instance)
            channel_state.by_limit.setdefault(name, []).append(quiet)

    def _add_silence(self, channel_state: ChannelState, topic: Topic, rule: Rule) -> None:
        """Who is silent on one channel and offline on another has one alarm; it stands with the status."""
        key = Key(topic.site, topic.equipment, "", rule.id)
        if topic.channel is Channel.STATUS:
            instance = channel_state.online_of = self.add_watch(channel_state, key, topic.kind, rule)
            if instance.silence is not None:  # it is known already; what is changed is the rule
                instance.silence.rule = rule
                return
            instance.silence = silence = Silence(rule, instance.memory)
            if silence.interval and not silence.silent:
                self._schedule.remind(channel_state, instance, silence.due_at)
        elif topic.channel is rule.channel or topic.channel is Channel.EVENT:
            status = status_of(topic)
            channel_state.silence = (self.channel_states.get(status) or self.add_channel(status)).instances[key].silence
            channel_state.begins_silence = topic.channel is rule.channel

    def add_watch(self, channel_state: ChannelState, key: Key, kind: Kind, rule: Rule) -> RuleInstance:
        """One rule on one part, as it was remembered."""
        if key in channel_state.instances:
            return channel_state.instances[key]
        if len(channel_state.instances) >= channel_state.most_watches:
            self._forget_quiet_parts(channel_state)
        instance = channel_state.instances[key] = RuleInstance(
            key, kind, self._plan(rule), self._memories.get(key, FRESH)
        )
        if instance.memory.pending_since is not None:
            self._schedule.unsettle(channel_state, key)
        if rule.type is RuleType.COUNT and instance.memory.active:
            self._schedule.counting[instance] = channel_state
        if rule.type is RuleType.ABSENCE and instance.seen_at is not None:
            self._schedule.note(channel_state, instance)
        return instance
