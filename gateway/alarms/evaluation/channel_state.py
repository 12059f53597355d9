"""What is remembered, while the service runs, of each channel of each equipment and of each rule on it. Pure."""

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
"""Samples that come faster than this are a backlog: their times of measurement may lie far apart."""
MOST_VALUES: Final = 256
"""Fields of one channel whose newest values are remembered, beside those that rules look at."""
MOST_INSTANCES: Final = 10_000
"""RuleEvaluator of one channel, parts included. Several times what the largest fire panels have."""
SERIES: Final = frozenset({RuleType.RATE, RuleType.COUNT})
"""Types that remember a window of samples."""


class Plan:
    """What a rule looks at, worked out once for all equipment."""

    __slots__ = ("differing", "guarded", "inputs", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.inputs = () if rule.type is RuleType.NO_DATA else inputs_of(rule)
        self.differing = looked_at_when_differing(rule)
        self.guarded = tuple(quiet_bands(rule, FRESH, {}))


class QuietBand:
    """The band of one number in which a watch need not be asked."""

    __slots__ = ("high", "instance", "low")

    def __init__(self, instance: "RuleInstance") -> None:
        self.instance = instance
        # Empty until the first judgement: after a start every rule looks once at what it finds.
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
        # What the newest sample in breach said, while a delay runs: of it the alarm tells.
        self.breach_value = memory.pending_value
        self.points: list[Point] = list(memory.points)
        # When what only a sample out of order has raised is compared with the newest values, 0 where nothing is.
        self.settle_at = 0
        # A count that stands: until when only a sample can change that (epoch ms), 0 where that is not worked out.
        self.counted_until = 0
        # Absence: whether it happens just now.
        self.happening = False
        self.seen_at = memory.seen_at
        self.reminded = False
        self.silence: Silence | None = None
        # The last message kept by a broker that was taken into account.
        self.retained = memory.retained

    def follow(self, plan: Plan) -> None:
        """Go on under a rule that was changed, or is as it was; what is remembered stays."""
        self.rule, self.inputs, self.bands_by_field = plan.rule, plan.inputs, {}
        self.counted_until = 0

    def waits_until(self) -> list[int]:
        """The moments, by the time of receipt, at which the clock ends a delay or what disorder has raised."""
        memory, rule = self.memory, self.rule
        delay = rule.off_delay if memory.active else rule.on_delay
        delayed = [] if memory.pending_received is None else [memory.pending_received + delay]
        return [*delayed, self.settle_at] if self.settle_at else delayed


class ChannelState:
    """All that watches one channel of one equipment."""

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
        "most_watches",
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
        # Beyond so many watches those of parts on which nothing stands are forgotten.
        self.most_watches = MOST_INSTANCES
        # Whether nobody had adopted its equipment when it was heard for the first time.
        self.is_unknown = False
        self.values: dict[str, Value] = {}
        # Names among `values` that are known from before the start only.
        self.recalled: set[str] = set()
        self.newest_at = 0
        self.received_at = 0
        # When each field was measured last: all of them at `complete_at`, and some of them later.
        self.complete_at = 0
        self.times: dict[str, int] = {}
        # When a run of samples from before the newest one began to come in, 0 while there is none.
        self.behind_since = 0
        self.late_in_a_row = 0
        # Fields whose newest value cannot be true, and what it was.
        self.doubtful: dict[str, str] = {}
        self.instances: dict[Key, RuleInstance] = {}
        self.by_limit: dict[str, list[QuietBand]] = {}
        self.by_state: dict[str, list[RuleInstance]] = {}
        self.by_series: dict[str, list[RuleInstance]] = {}
        self.by_event: list[Rule] = []
        # Whose silence is noticed on this channel, and who is said to be online by it.
        self.silence: Silence | None = None
        self.online_of: RuleInstance | None = None
        # Whether the first message on it begins the watch for silence; events of who reports otherwise only end one.
        self.begins_silence = True
        # RuleEvaluator that do not say what the newest sample says: they wait for a delay to end, or for a further sample.
        self.unsettled: set[Key] = set()

    def without_instances(self) -> dict[Key, RuleInstance]:
        """Take all watches off; what the equipment has said stays. Returns them."""
        instances, self.instances = self.instances, {}
        self.by_limit, self.by_state, self.by_series, self.by_event = {}, {}, {}, []
        self.silence = self.online_of = None
        return instances

    def forget_unasked(self) -> None:
        """A device that makes up ever new names must not fill the memory: what no rule looks at goes."""
        asked = {name for instance in self.instances.values() for name in (*instance.inputs, *instance.rule.condition)}
        asked |= self.by_limit.keys() | self.by_state.keys() | self.by_series.keys()
        self.values = {name: value for name, value in self.values.items() if name in asked}
        self.times = {name: at for name, at in self.times.items() if name in asked}

    def measured_at(self, name: str) -> int:
        """When the known value of a field was measured, 0 where there is none."""
        return max(self.complete_at, self.times.get(name, 0)) if name in self.values else 0

    def date_each_field(self) -> None:
        """Before a field that comes out of order: the time at which all the others were complete is not its own."""
        self.times = {name: self.measured_at(name) for name in self.values}
        self.complete_at = 0

    def is_clock_in_doubt(self, now: int, window_ms: int) -> bool:
        """Whether nothing but late samples come: they may deny what waits, and will count when the window is over."""
        return self.late_in_a_row > 1 and now - self.behind_since <= window_ms

    def allow_for_a_jump(self, at: int, received_at: int, window_ms: int) -> None:
        """A clock that is set right by an hour has not let an hour pass: what waits goes on waiting."""
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
        """Once, when a clock that was set back is believed: what waited may have been denied meanwhile."""
        if not self.late_in_a_row:
            return
        self.late_in_a_row = 0
        for key in self.unsettled:
            instance = self.instances[key]
            if instance.memory.pending_since is not None:
                instance.memory = msgspec.structs.replace(instance.memory, pending_since=at)

    def watching(self, names: Iterable[str]) -> dict[Key, RuleInstance]:
        """The watches that look at some fields."""
        found: dict[Key, RuleInstance] = {}
        for name in names:
            found |= {quiet.instance.key: quiet.instance for quiet in self.by_limit.get(name, ())}
            for table in (self.by_state, self.by_series):
                found |= {instance.key: instance for instance in table.get(name, ())}
        return found


def ask(instance: RuleInstance, values: Mapping[str, Value], reading: Reading, at: int, newest: int) -> bool | None:
    """What a rule says of the newest values; takes the sample, of time `at`, into what it remembers besides."""
    rule = instance.rule
    if rule.type in SERIES:
        value = reading.fields.get(rule.field)
        if value is not None:
            add_point(rule, instance.points, at, value)
            instance.counted_until = 0
        return is_series_breached(rule, instance.points, newest, instance.memory.active)
    if rule.type is RuleType.ABSENCE:
        return _ask_absence(instance, values, reading.received_at)
    return is_breached(rule, values, instance.memory.active)


def judged(instance: RuleInstance, breached: bool, at: int, received_at: int, *, corrects: bool = False) -> Judgement:
    """What follows from an answer of `ask`: by the time of measurement, but for what the service's clock decides."""
    if instance.rule.type is RuleType.ABSENCE:
        return judge_in_order(instance.rule, instance.memory, breached, received_at)
    return judge(instance.rule, instance.memory, breached, at, received_at, corrects=corrects)


def _ask_absence(instance: RuleInstance, values: Mapping[str, Value], received_at: int) -> bool:
    happened, instance.happening = instance.happening, values.get(instance.rule.field) in instance.rule.values
    if happened or instance.happening or instance.seen_at is None:
        instance.seen_at = received_at
    return False if instance.happening else instance.memory.active


def with_habits(instance: RuleInstance, memory: Memory) -> Memory:
    """A memory with what its watch remembers besides."""
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
    """When it was measured, where that can be true: not with a doubtful clock, and never later than it came."""
    at, received_at = reading.measured_at, reading.received_at
    return received_at if at > received_at or reading.quality & _DOUBTFUL_CLOCK else at
