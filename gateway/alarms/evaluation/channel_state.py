"""In-memory state of each channel of each equipment, and of each rule on it. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading, Value
from gateway.alarms.evaluation.no_data import Silence
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import (
    FRESH,
    Judgement,
    Memory,
    Point,
    Rule,
    RuleType,
    inputs_of,
    is_breached,
    judge,
    judge_in_order,
    looked_at_when_differing,
    quiet_bands,
)
from gateway.alarms.rules.series import add_point, is_series_breached

_DOUBTFUL_CLOCK: Final = int(Quality.FUTURE | Quality.OLD | Quality.NO_TIME | Quality.CLOCK_WRONG)
_BURST_MS: Final = 500
"""Samples that arrive faster than this are a backlog: their times of measurement may lie far apart."""
MOST_VALUES: Final = 256
"""Fields of one channel whose newest values are kept, in addition to those that rules use."""
MOST_INSTANCES: Final = 10_000
"""Rule instances of one channel, parts included. Several times what the largest fire panels have."""
SERIES: Final = frozenset({RuleType.RATE, RuleType.COUNT})
"""Rule types that keep a window of samples."""


class Plan:
    """The inputs of a rule, computed once for all equipment."""

    __slots__ = ("differing", "guarded", "inputs", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.inputs = () if rule.type is RuleType.NO_DATA else inputs_of(rule)
        self.differing = looked_at_when_differing(rule)
        self.guarded = tuple(quiet_bands(rule, FRESH, {}))


class QuietBand:
    """The band of one number within which a rule instance need not be evaluated."""

    __slots__ = ("high", "instance", "low")

    def __init__(self, instance: "RuleInstance") -> None:
        self.instance = instance
        # Empty until the first judgement: after a start every rule is evaluated once.
        self.low, self.high = 1.0, 0.0


class RuleInstance:
    """One rule on one part of one equipment."""

    __slots__ = (
        "bands_by_field",
        "breach_value",
        "counted_until",
        "happening",
        "inputs",
        "key",
        "kind",
        "memory",
        "points",
        "reminded",
        "retained",
        "rule",
        "seen_at",
        "settle_at",
        "silence",
    )

    def __init__(self, key: Key, kind: Kind, plan: Plan, memory: Memory) -> None:
        self.key = key
        self.kind = kind
        self.rule = plan.rule
        self.memory = memory
        self.inputs = plan.inputs
        self.bands_by_field: dict[str, QuietBand] = {}
        # Value of the newest sample in breach while a delay runs; the alarm reports it.
        self.breach_value = memory.pending_value
        self.points: list[Point] = list(memory.points)
        # When an alarm raised by a sample out of order is compared with the newest values; 0: none is pending.
        self.settle_at = 0
        # Active count: until when only a sample can change it (epoch ms), 0 where that is not computed.
        self.counted_until = 0
        # Absence: whether the field has one of the expected values now.
        self.happening = False
        self.seen_at = memory.seen_at
        self.reminded = False
        self.silence: Silence | None = None
        # Hash of the last retained message that was evaluated.
        self.retained = memory.retained

    def follow(self, plan: Plan) -> None:
        """Continue with a rule, changed or not; the memory is kept."""
        self.rule, self.inputs, self.bands_by_field = plan.rule, plan.inputs, {}
        self.counted_until = 0

    def waits_until(self) -> list[int]:
        """The times of receipt at which the clock ends a delay, or an alarm raised by a sample out of order."""
        memory, rule = self.memory, self.rule
        delay = rule.off_delay if memory.active else rule.on_delay
        delayed = [] if memory.pending_received is None else [memory.pending_received + delay]
        return [*delayed, self.settle_at] if self.settle_at else delayed


class ChannelState:
    """All rule instances on one channel of one equipment, and its newest values."""

    __slots__ = (
        "begins_silence",
        "behind_since",
        "by_event",
        "by_limit",
        "by_series",
        "by_state",
        "complete_at",
        "doubtful",
        "instances",
        "is_unknown",
        "late_in_a_row",
        "most_instances",
        "newest_at",
        "online_of",
        "recalled",
        "received_at",
        "silence",
        "times",
        "unsettled",
        "values",
    )  # fmt: skip

    def __init__(self) -> None:
        # Beyond this number, instances of parts without an active alarm are dropped.
        self.most_instances = MOST_INSTANCES
        # Whether its equipment was not adopted when its first message was received.
        self.is_unknown = False
        self.values: dict[str, Value] = {}
        # Names among `values` that are known only from before the start.
        self.recalled: set[str] = set()
        self.newest_at = 0
        self.received_at = 0
        # When each field was last measured: all of them at `complete_at`, some of them later.
        self.complete_at = 0
        self.times: dict[str, int] = {}
        # When a run of samples older than the newest one began to arrive, 0 while there is none.
        self.behind_since = 0
        self.late_in_a_row = 0
        # Fields whose newest value is implausible, and that value.
        self.doubtful: dict[str, str] = {}
        self.instances: dict[Key, RuleInstance] = {}
        self.by_limit: dict[str, list[QuietBand]] = {}
        self.by_state: dict[str, list[RuleInstance]] = {}
        self.by_series: dict[str, list[RuleInstance]] = {}
        self.by_event: list[Rule] = []
        # The no-data check of this channel, and the instance whose online status it reports.
        self.silence: Silence | None = None
        self.online_of: RuleInstance | None = None
        # Whether the first message starts the no-data check; events of equipment with telemetry only end silence.
        self.begins_silence = True
        # Rule instances whose state differs from the newest sample: they wait for a delay or for another sample.
        self.unsettled: set[Key] = set()

    def without_instances(self) -> dict[Key, RuleInstance]:
        """Remove and return all rule instances; the values are kept."""
        instances, self.instances = self.instances, {}
        self.by_limit, self.by_state, self.by_series, self.by_event = {}, {}, {}, []
        self.silence = self.online_of = None
        return instances

    def rename(self, code: str) -> None:
        """Use another code for the equipment; pending delays continue."""
        for instance in self.instances.values():
            instance.key = instance.key._replace(equipment=code)
        self.instances = {instance.key: instance for instance in self.instances.values()}
        self.unsettled = {key._replace(equipment=code) for key in self.unsettled}

    def forget_unused_fields(self) -> None:
        """Drop the fields that no rule uses, so that a device that invents field names cannot fill the memory."""
        used = {name for instance in self.instances.values() for name in (*instance.inputs, *instance.rule.condition)}
        used |= self.by_limit.keys() | self.by_state.keys() | self.by_series.keys()
        self.values = {name: value for name, value in self.values.items() if name in used}
        self.times = {name: at for name, at in self.times.items() if name in used}

    def measured_at(self, name: str) -> int:
        """When the known value of a field was measured, 0 if there is none."""
        return max(self.complete_at, self.times.get(name, 0)) if name in self.values else 0

    def date_each_field(self) -> None:
        """Give each field its own time, before a field arrives out of order to which `complete_at` does not apply."""
        self.times = {name: self.measured_at(name) for name in self.values}
        self.complete_at = 0

    def is_clock_in_doubt(self, now: int, window_ms: int) -> bool:
        """Whether only late samples arrive: they may contradict pending delays, and count when the window is over."""
        return self.late_in_a_row > 1 and now - self.behind_since <= window_ms

    def allow_for_a_jump(self, at: int, received_at: int, window_ms: int) -> None:
        """Shift pending delays when the device's clock jumps forward: a corrected clock is not elapsed time."""
        passed = received_at - self.received_at
        jumped = at - self.newest_at - passed
        if not self.newest_at or passed < _BURST_MS or jumped <= window_ms:
            return
        for key in self.unsettled:
            instance = self.instances[key]
            if instance.memory.pending_since is not None:
                since = instance.memory.pending_since + jumped
                instance.memory = msgspec.structs.replace(instance.memory, pending_since=since)

    def begin_delays_anew(self, at: int) -> None:
        """Restart pending delays once when a clock set back is accepted: they may have been contradicted meanwhile."""
        if not self.late_in_a_row:
            return
        self.late_in_a_row = 0
        for key in self.unsettled:
            instance = self.instances[key]
            if instance.memory.pending_since is not None:
                instance.memory = msgspec.structs.replace(instance.memory, pending_since=at)

    def watching(self, names: Iterable[str]) -> dict[Key, RuleInstance]:
        """The rule instances that use some of these fields."""
        found: dict[Key, RuleInstance] = {}
        for name in names:
            found |= {quiet.instance.key: quiet.instance for quiet in self.by_limit.get(name, ())}
            for table in (self.by_state, self.by_series):
                found |= {instance.key: instance for instance in table.get(name, ())}
        return found


def evaluate(
    instance: RuleInstance, values: Mapping[str, Value], reading: Reading, at: int, newest: int
) -> bool | None:
    """Whether the newest values breach a rule; adds the sample, of time `at`, to its window."""
    rule = instance.rule
    if rule.type in SERIES:
        value = reading.fields.get(rule.field)
        if value is not None:
            add_point(rule, instance.points, at, value)
            instance.counted_until = 0
        return is_series_breached(rule, instance.points, newest, instance.memory.active)
    if rule.type is RuleType.ABSENCE:
        return _is_absence_breached(instance, values, reading.received_at)
    return is_breached(rule, values, instance.memory.active)


def judged(instance: RuleInstance, breached: bool, at: int, received_at: int, *, corrects: bool = False) -> Judgement:
    """Judge a result of `evaluate` by the time of measurement; absence is judged by the service's clock."""
    if instance.rule.type is RuleType.ABSENCE:
        return judge_in_order(instance.rule, instance.memory, breached, received_at)
    return judge(instance.rule, instance.memory, breached, at, received_at, corrects=corrects)


def _is_absence_breached(instance: RuleInstance, values: Mapping[str, Value], received_at: int) -> bool:
    happened, instance.happening = instance.happening, values.get(instance.rule.field) in instance.rule.values
    if happened or instance.happening or instance.seen_at is None:
        instance.seen_at = received_at
    return False if instance.happening else instance.memory.active


def with_series(instance: RuleInstance, memory: Memory) -> Memory:
    """A memory with the additional state of its rule instance: points, last seen, interval, retained message."""
    if instance.retained:
        memory = msgspec.structs.replace(memory, retained=instance.retained)
    if instance.rule.type is RuleType.COUNT:
        return msgspec.structs.replace(memory, points=tuple(instance.points))
    if instance.rule.type is RuleType.ABSENCE:
        return msgspec.structs.replace(memory, seen_at=instance.seen_at)
    if instance.silence is not None:
        return msgspec.structs.replace(memory, interval=instance.silence.noted(instance.memory))
    return memory


def time_of(reading: Reading) -> int:
    """Time of measurement; time of receipt where the clock is in doubt or the measurement would be later than it."""
    at, received_at = reading.measured_at, reading.received_at
    return received_at if at > received_at or reading.quality & _DOUBTFUL_CLOCK else at
