"""Equipment that has sent messages, and which rules apply to which of its channels. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
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
"""(site, equipment) -> the values known from before the start."""


def nothing_known(_site: str, _equipment: str) -> Mapping[str, Value]:
    """No values are known from before the start."""
    return {}


def is_watched(alarm: Mapping[str, Any], rulebook: Rulebook) -> bool:
    """Whether a rule can still end this open alarm: its own rule, for this equipment and with or without parts."""
    rules = rulebook.rules_for(alarm["site"], Kind(alarm["kind"]), alarm["equipment"])
    return any(
        rule.id == alarm["rule"] and bool(alarm["part"]) <= bool(rule.per or rule.per_otherwise) for rule in rules
    )


def channel_of(rule: Rule) -> Channel:
    """The channel that a rule uses."""
    if rule.type is RuleType.EVENT:
        return Channel.EVENT
    return Channel.STATUS if rule.field in _STATUS_FIELDS else Channel.TELEMETRY


def status_of(topic: Topic) -> Topic:
    """The status channel of the same equipment."""
    return Topic(topic.site, topic.kind, topic.equipment, Channel.STATUS)


def _renamed(key: Key, site: str, code: str, new: str) -> Key:
    return key._replace(equipment=new) if key[:2] == (site, code) else key


class WatchedEquipment:
    """Every channel that has received a message, with its rules."""

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
        """Continue after a restart: pending delays run on, and a reset finds the active and latched parts."""
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

    def load_active(self, is_concerned: Callable[[Key], bool]) -> None:
        """Load the equipment of active alarms, even if it has sent nothing since the start."""
        for key, memory in self._memories.items():
            rule = self.rulebook.in_force(key.rule, key.site, key.equipment) if is_concerned(key) else None
            if rule is not None and memory.active:
                self._know(key, rule)

    def forget_disabled(self, is_concerned: Callable[[Key], bool]) -> None:
        """Reset the memory of disabled rules, so that a rule enabled again starts fresh."""
        for key, memory in tuple(self._memories.items()):
            if is_concerned(key) and self.rulebook.in_force(key.rule, key.site, key.equipment) is None:
                self.deactivate(key, Memory(changed_at=memory.changed_at))

    def deactivate(self, key: Key, memory: Memory) -> Memory:
        """Store `memory` for a rule that is not in force, and drop its active state. Returns it."""
        self._memories[key] = memory
        standing = self._standing.get((key.site, key.equipment, key.rule), [])
        if key in standing:
            standing.remove(key)
        return memory

    def forget(self, is_gone: Callable[[str, str, Kind], bool], standing: Collection[Key] = ()) -> None:
        """Forget channels and pending delays of equipment for which `is_gone(site, code, kind)` is true.

        The memory of `standing` alarms is kept, so that they can return.
        """
        gone = [topic for topic in self.channel_states if is_gone(topic.site, topic.equipment, topic.kind)]
        self._memories |= {
            key: instance.memory
            for topic in gone
            for key, instance in self.channel_states[topic].instances.items()
            if key in standing
        }
        self._leave(gone)
        for key in [key for key in self._memories if key not in standing and self._is_gone(key, is_gone)]:
            del self._memories[key]
        for of, keys in tuple(self._standing.items()):
            self._standing[of] = [key for key in keys if key in self._memories]
        self._stand(standing)

    def _leave(self, topics: Iterable[Topic]) -> None:
        """Drop channels."""
        channel_states = []
        for topic in topics:
            channel_states.append(self.channel_states.pop(topic))
            self.unknown.leave(topic)
        self._schedule.forget(channel_states)

    def _stand(self, standing: Collection[Key]) -> None:
        """Register active alarms, so that a reset or the clock can end them."""
        for key in standing:
            found = self._standing.setdefault((key.site, key.equipment, key.rule), [])
            if key not in found and key in self._memories:
                found.append(key)
        self.load_active(lambda key: key in standing)

    def _is_gone(self, key: Key, is_gone: Callable[[str, str, Kind], bool]) -> bool:
        rule = self.rulebook.described(key.rule, key.site, key.equipment)
        return rule is not None and is_gone(key.site, key.equipment, rule.kind)

    def rename(self, site: str, code: str, new: str) -> None:
        """Move the state of an equipment to its new code."""
        for topic in [topic for topic in self.channel_states if (topic.site, topic.equipment) == (site, code)]:
            channel_state = self.channel_states.pop(topic)
            self.unknown.leave(topic)
            renamed = Topic(site, topic.kind, new, topic.channel)
            if renamed in self.channel_states:  # received before the rename was known
                self._leave([renamed])
            self.channel_states[renamed] = channel_state
            channel_state.is_unknown = self.unknown.meet(renamed)
            channel_state.rename(new)
        self._memories = {_renamed(key, site, code, new): memory for key, memory in self._memories.items()}
        for of in [of for of in self._standing if of[:2] == (site, code)]:
            keys = [_renamed(key, site, code, new) for key in self._standing.pop(of)]
            self._standing[site, new, of[2]] = keys

    def add_channel(self, topic: Topic) -> ChannelState:
        """Add a channel at its first message."""
        channel_state = self.channel_states[topic] = ChannelState()
        channel_state.is_unknown = self.unknown.meet(topic)
        rules = self.rulebook.rules_for(topic.site, topic.kind, topic.equipment)
        known = self.recall_values(topic.site, topic.equipment)
        channel_state.recalled = {
            name for rule in rules if rule.when is not None for name in self._plan(rule).inputs if name in known
        }
        # Also the fields of conditions; all other values are evaluated when they arrive.
        needed = channel_state.recalled.union(*(rule.condition for rule in rules))
        channel_state.values = {name: known[name] for name in needed if name in known}
        for rule in rules:
            self._add_rule(channel_state, topic, rule)
        if any(instance.memory.active for instance in channel_state.by_state.get(DOUBTFUL, ())):
            channel_state.doubtful = UNKNOWN_YET
        return channel_state

    def make_room(self, current: Topic) -> dict[Key, Memory]:
        """Forget unknown equipment beyond the limit. Returns the rule memories to delete.

        `current` is being judged now and stays; so does equipment with a pending life-safety delay.
        """

        def keeps(channels: list[Topic]) -> bool:
            who = channels[0].site, channels[0].equipment
            return who == (current.site, current.equipment) or any(self._is_urgent(topic) for topic in channels)

        gone = list(self.unknown.surplus(keeps))
        if not gone:
            return {}
        forgotten: dict[Key, Memory] = {}
        channel_states = [self.channel_states.pop(topic) for topic in gone]
        self._schedule.forget(channel_states)
        for channel_state in channel_states:
            for key, instance in channel_state.instances.items():
                if instance.memory.active or instance.memory.pending_since is not None:
                    self._memories[key] = instance.memory  # its alarm is active: its next message continues from here
                else:
                    forgotten[key] = FRESH
                    self._memories.pop(key, None)
        return forgotten

    def _forget_quiet_parts(self, channel_state: ChannelState) -> None:
        """Drop parts without an active alarm, so that a panel that invents addresses cannot fill the memory."""
        quiet = [
            key for key, instance in channel_state.instances.items()
            if instance.rule.type is RuleType.EVENT
            and not instance.memory.active
            and key not in channel_state.unsettled
        ]  # fmt: skip
        for key in quiet:
            del channel_state.instances[key]
            self._memories.pop(key, None)
        channel_state.most_instances = max(MOST_INSTANCES, 2 * len(channel_state.instances))

    def _is_urgent(self, topic: Topic) -> bool:
        channel_state = self.channel_states[topic]
        return any(
            channel_state.instances[key].rule.life_safety
            for key in channel_state.unsettled
            if key in channel_state.instances
        )

    def replan(self, topic: Topic, channel_state: ChannelState) -> dict[Key, RuleInstance]:
        """Apply the rules now in force to a channel. Returns the instances that were removed."""
        before = channel_state.without_instances()
        for rule in self.rulebook.rules_for(topic.site, topic.kind, topic.equipment):
            for key, instance in before.items():
                if key.rule == rule.id:
                    instance.follow(self._plan(rule))
                    channel_state.instances[key] = instance
            self._add_rule(channel_state, topic, rule)
        return {key: instance for key, instance in before.items() if key not in channel_state.instances}

    def clock_was_set(self, by: int) -> None:
        """Shift all remembered times after a step of `by` ms."""
        self._memories = {key: moved_memory(memory, by, measured=by < 0) for key, memory in self._memories.items()}
        for channel_state in self.channel_states.values():
            move_channel_state(channel_state, by)

    def _plan(self, rule: Rule) -> Plan:
        """The plan of a rule, computed once for all equipment if the rule is unchanged."""
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
                    self.add_instance(channel_state, key, topic.kind, rule)
            return
        if topic.channel is Channel.EVENT or rule.type is RuleType.RESPONSE_TIMEOUT:
            return
        if channel_of(rule) is not topic.channel:
            return
        instance = self.add_instance(channel_state, Key(topic.site, topic.equipment, "", rule.id), topic.kind, rule)
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
        """Silence on one channel and offline on another are one alarm, kept with the status channel."""
        key = Key(topic.site, topic.equipment, "", rule.id)
        if topic.channel is Channel.STATUS:
            instance = channel_state.online_of = self.add_instance(channel_state, key, topic.kind, rule)
            if instance.silence is not None:  # known already; only the rule has changed
                instance.silence.rule = rule
                return
            instance.silence = silence = Silence(rule, instance.memory)
            if silence.interval and not silence.silent:
                self._schedule.remind(channel_state, instance, silence.due_at)
        elif topic.channel is rule.channel or topic.channel is Channel.EVENT:
            status = status_of(topic)
            channel_state.silence = (self.channel_states.get(status) or self.add_channel(status)).instances[key].silence
            channel_state.begins_silence = topic.channel is rule.channel

    def add_instance(self, channel_state: ChannelState, key: Key, kind: Kind, rule: Rule) -> RuleInstance:
        """Add one rule on one part, with its stored memory."""
        if key in channel_state.instances:
            return channel_state.instances[key]
        if len(channel_state.instances) >= channel_state.most_instances:
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
