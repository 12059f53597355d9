"""Rules: which values of an equipment are an alarm. Pure: takes times, returns decisions.

`is_breached` evaluates the values; `judge` adds delays, by time of measurement, and memory. A value holds until the
next one: a breach that lasts for the whole delay is raised at the time the delay ended, whether a sample or the clock
(`mature`) shows it first. A breach that is over at that time, or before, raises nothing.
"""

import hashlib
import math
from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Value
from gateway.alarms.rules.conditions import Band, Condition, bands, compared_with, is_fulfilled, leaves_of, names_in
from gateway.alarms.rules.deadband import is_beyond, lower_edge, upper_edge
from gateway.equipment.topology import Relation


class Priority(StrEnum):
    """Urgency; critical is life safety and nothing else."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class RuleType(StrEnum):
    """What a rule evaluates; docs/alarms.md explains each type with an example."""

    LIMIT = "limit"
    STATE = "state"
    EVENT = "event"
    COMBINATION = "combination"
    RATE = "rate"
    COUNT = "count"
    NO_DATA = "no_data"
    ABSENCE = "absence"
    RESPONSE_TIMEOUT = "response_timeout"


class TicketWish(StrEnum):
    """The ticket that an alarm of this rule opens."""

    NONE = "none"
    REPAIR = "repair"
    EMERGENCY = "emergency"


Point: TypeAlias = tuple[int, Value]
"""When it was measured (epoch ms), and the value."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as used by the service; `files` reads and checks it. Delays are milliseconds."""

    id: str
    kind: Kind
    type: RuleType
    title: dict[str, str]
    advice: dict[str, str]
    priority: Priority
    source: str
    equipment: tuple[str, ...] = ("*",)
    """Patterns on the equipment's code."""
    instead_of: tuple[str, ...] = ()
    """Rules that this one replaces, on the equipment that it applies to."""
    field: str = ""
    above: float = math.inf
    below: float = -math.inf
    deadband: float = 0.0
    values: frozenset[Value] = frozenset()
    """State rules: the values that are an alarm, or with `inverted` the only ones that are not."""
    inverted: bool = False
    condition: Mapping[str, Value] = {}
    """Other fields and the values they must have; one that was never reported counts as fulfilled."""
    when: Condition | None = None
    """Combinations: a condition on several fields."""
    match: Mapping[str, frozenset[Value]] = {}
    """Event rules: fields and the values with which the rule applies to an event."""
    unless: Mapping[str, frozenset[Value]] = {}
    """Event rules: fields and the values with which it does not apply."""
    per: tuple[str, ...] = ()
    """Event rules: fields that form the part, so that a second detector is a second alarm."""
    per_otherwise: tuple[str, ...] = ()
    """Fields that form the part if an event has none of those: a conventional panel has zones only."""
    window: int = 0
    """Rates and counts: length of the window."""
    after: int = 0
    """No data: the least silence. Response timeout: time to acknowledge. Absence: within which it must happen."""
    times: float = 0.0
    """No data: multiple of the equipment's own interval that must have passed as well."""
    channel: Channel = Channel.TELEMETRY
    """No data: the channel that must not fall silent."""
    of: str = ""
    """Response timeout: the rule whose alarm must be acknowledged."""
    momentary: bool = False
    """Event rules: the event has no end, so the alarm returns at once and only waits to be acknowledged."""
    on_delay: int = 0
    off_delay: int = 0
    ticket: TicketWish = TicketWish.NONE
    playbook: str = ""
    latching: bool = False
    """The alarm stays after its condition has ended, until it is reset."""
    re_alarm: int = 0
    """Time after its acknowledgement at which an active alarm is re-alarmed, 0: never."""
    written: Mapping[str, Any] = {}
    """As written in its file, or with a site's changes: the base for further changes."""
    file: str = ""
    """The file that it is from, "" for a site's own rule."""
    suppresses: frozenset[Relation] = frozenset()
    """Relations in which its active alarm suppresses the alarms of what the equipment feeds or carries."""
    suppressed_by: tuple[str, ...] = ()
    """Rules on the same equipment whose active alarms suppress this one."""
    despite_parent: bool = False
    """Not suppressed by a cause on what feeds or carries the equipment: it requires an action of its own."""
    release_after: int = 0
    """A cause: how long suppressed alarms wait after its condition has ended, as devices need time to recover."""

    @property
    def life_safety(self) -> bool:
        """Never damped, delayed, suppressed by a parent or grouped away."""
        return self.priority is Priority.CRITICAL


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule's memory of one part of one equipment. Times are epoch ms of measurement, except `pending_received`."""

    active: bool = False
    changed_at: int = 0
    known_at: int = 0
    """Time of the sample that the last change is based on; earlier than the change if there was a delay."""
    pending_since: int | None = None
    pending_received: int | None = None
    """When the sample that began the delay was received, by which the clock ends the delay."""
    pending_value: Value | None = None
    """The value that began the delay."""
    points: tuple[Point, ...] = ()
    """Counts: the changes of value within the window, and the last one before it."""
    seen_at: int | None = None
    """Absence: when it last happened, or when the first message was received; epoch ms of receipt."""
    retained: str = ""
    """Hash of the last retained message that was evaluated: it arrives again at every start."""
    interval: int = 0
    """No data: the longest recent time between two messages, in ms; 0 while it is not known."""


class Change(NamedTuple):
    """The condition began (`raised`) or ended, at a time of measurement."""

    raised: bool
    at: int
    disproved: bool = False
    """It ends because a late sample from before its beginning shows that it never was."""
    reset: bool = False
    """The panel was reset: latched alarms whose condition has ended are reset."""


class Judgement(NamedTuple):
    """The new memory, and the changes in order of time."""

    memory: Memory
    changes: tuple[Change, ...] = ()


FRESH: Final = Memory()
PROBE_RULE_ID: Final = "system.watchdog"
"""Id of the rule of the synthetic probe; it cannot be changed or replaced."""
_PART_LENGTH: Final = 128


def is_breached(rule: Rule, values: Mapping[str, Value], active: bool) -> bool | None:
    """Whether values are in alarm; None if that cannot be decided (the field is absent or of another type).

    Args:
        rule: a limit, a state rule or a combination.
        values: newest values of the equipment.
        active: whether the condition is active: then it ends only beyond the deadband.
    """
    if rule.when is not None:
        known = any(name in values for name in inputs_of(rule))
        return is_fulfilled(rule.when, values, int(active)) if known else None
    value = values.get(rule.field)
    if value is None:
        return None
    if not _meets_condition(rule, values):
        return False
    if rule.type is RuleType.STATE:
        return (value in rule.values) is not rule.inverted
    if not isinstance(value, float):
        return None
    return is_beyond(value, rule.above, rule.below, rule.deadband, active)


def inputs_of(rule: Rule) -> tuple[str, ...]:
    """The fields that a rule uses, each once; events have none."""
    if rule.when is not None:
        return tuple(dict.fromkeys(name for leaf in leaves_of(rule.when) for name in names_in(leaf)))
    return tuple(dict.fromkeys(filter(None, (rule.field, *rule.condition))))


def looked_at_when_differing(rule: Rule) -> set[str]:
    """The inputs for which a rule is evaluated whenever their value differs; all others have quiet bands."""
    if rule.when is not None:
        return compared_with(rule.when)
    return {*rule.condition, *(() if rule.type is RuleType.LIMIT else (rule.field,))}


def quiet_bands(rule: Rule, memory: Memory, values: Mapping[str, Value]) -> dict[str, Band]:
    """For each number that a rule uses, the values, ends included, that need no judgement."""
    if rule.when is not None:
        return bands(rule.when, values, int(memory.active))
    return {rule.field: quiet_band(rule, memory, values)} if rule.type is RuleType.LIMIT else {}


def quiet_band(rule: Rule, memory: Memory, values: Mapping[str, Value]) -> Band:
    """The values of a limit rule's field, ends included, that need no judgement: nothing would change."""
    if memory.pending_since is not None:
        return math.inf, -math.inf
    if not _meets_condition(rule, values):
        return (-math.inf, math.inf) if not memory.active else (math.inf, -math.inf)
    if not memory.active:
        return rule.below, rule.above
    if rule.above < math.inf:
        return math.nextafter(upper_edge(rule.above, rule.deadband, 1), math.inf), math.inf
    return -math.inf, math.nextafter(lower_edge(rule.below, rule.deadband, 1), -math.inf)


def _meets_condition(rule: Rule, values: Mapping[str, Value]) -> bool:
    return all(values.get(name, wanted) == wanted for name, wanted in rule.condition.items())


def is_for(rule: Rule, code: str) -> bool:
    """Whether a rule's patterns match an equipment's code."""
    return any(fnmatchcase(code, pattern) for pattern in rule.equipment)


_ABOUT_PEOPLE: Final = ("title", "advice", "priority", "source", "ticket", "playbook", "latching", "written", "file")
_ABOUT_ALARMS: Final = ("re_alarm", "suppresses", "suppressed_by", "despite_parent", "release_after")
_DELAYS: Final = ("on_delay", "off_delay")
_PLAIN: Final = dict.fromkeys((*_ABOUT_PEOPLE, *_ABOUT_ALARMS, *_DELAYS, "equipment", "instead_of"))


def looks_alike(one: Rule, other: Rule) -> bool:
    """Whether two rules are breached by the same values; delays, texts and other keys may differ."""
    return msgspec.structs.replace(one, **_PLAIN) == msgspec.structs.replace(other, **_PLAIN)


def is_match(rule: Rule, fields: Mapping[str, Value]) -> bool:
    """Whether a rule applies to an event."""
    if any(fields.get(name) in excepted for name, excepted in rule.unless.items()):
        return False
    return all(fields.get(name) in wanted for name, wanted in rule.match.items())


def part_of(rule: Rule, fields: Mapping[str, Value]) -> str:
    """The part of an event: "1-23" for loop and address, "1-" for a loop alone; else for example its zone."""
    for names in (rule.per, rule.per_otherwise):
        if any(name in fields for name in names):
            return _shortened("-".join(str(fields.get(name, "")) for name in names))
    return ""


def _shortened(part: str) -> str:
    """A part of at most 128 characters; long ones stay distinct by a hash."""
    if len(part) <= _PART_LENGTH:
        return part
    return f"{part[: _PART_LENGTH - 17]}~{hashlib.blake2b(part.encode(), digest_size=8).hexdigest()}"


def judge(
    rule: Rule, memory: Memory, breached: bool, at: int, received_at: int, *, corrects: bool = False
) -> Judgement:
    """Take one sample into account.

    Args:
        rule: for its delays.
        memory: before the sample.
        breached: the result of `is_breached`.
        at: when it was measured.
        received_at: when it was received.
        corrects: the result is that of all newest values, though the last received was not the last measured.
    """
    if not corrects and (at < memory.known_at or (at == memory.known_at and not breached)):
        return Judgement(memory)  # measured before the sample of the last change: it cannot revoke that
    matured = _mature(rule, memory, at, contradicted=breached is memory.active)
    memory = matured.memory
    if breached == memory.active:
        known_at = at if matured.changes else memory.known_at
        return Judgement(_settled(memory, known_at), matured.changes)
    # Raised when a delay ended, and over at the same time: it did not last longer than its delay.
    ends_at_begin = memory.known_at < at == memory.changed_at
    disproves = memory.active and (at < memory.changed_at or ends_at_begin)
    if disproves or _delay(rule, memory) == 0:
        change = Change(breached, max(at, memory.changed_at), disproves)
        return Judgement(Memory(breached, change.at, at), (*matured.changes, change))
    if memory.pending_since is None:
        memory = Memory(memory.active, memory.changed_at, memory.known_at, at, received_at)
    return Judgement(memory, matured.changes)


def judge_in_order(rule: Rule, memory: Memory, breached: bool, now: int) -> Judgement:
    """Take into account a result that counts in the order of judging, as silence does.

    A message may be received before a tick and judged after it, so times are not compared: the later call decides.
    `now` (epoch ms of receipt, or of the tick) only dates the changes.
    """
    matured = _mature_by_clock(rule, memory, now, contradicted=breached is memory.active)
    memory = matured.memory
    if breached is memory.active:
        return Judgement(_settled(memory, memory.known_at), matured.changes)
    at = max(now, memory.changed_at)
    if _delay(rule, memory) == 0:
        return Judgement(Memory(breached, at, at), (*matured.changes, Change(breached, at)))
    if memory.pending_since is None:
        memory = Memory(memory.active, memory.changed_at, memory.known_at, now, now)
    return Judgement(memory, matured.changes)


def mature_before(rule: Rule, memory: Memory, at: int) -> Judgement:
    """End a delay that was over before a sample of time `at`.

    The result of the sample depends on the state before it: within the deadband it keeps an active condition, and
    raises none.
    """
    if memory.pending_since is None or at < memory.known_at or at <= memory.pending_since + _delay(rule, memory):
        return Judgement(memory)
    return _mature(rule, memory, at)


def mature(rule: Rule, memory: Memory, now: int) -> Judgement:
    """End a delay by the clock, if no sample has contradicted it."""
    return _mature_by_clock(rule, memory, now)


def _mature_by_clock(rule: Rule, memory: Memory, now: int, *, contradicted: bool = False) -> Judgement:
    if memory.pending_since is None or memory.pending_received is None:
        return Judgement(memory)
    at = memory.pending_since + now - memory.pending_received
    return _mature(rule, memory, at, contradicted=contradicted)


def _mature(rule: Rule, memory: Memory, at: int, *, contradicted: bool = False) -> Judgement:
    """End a delay at its due time; a contradicting sample of exactly that time takes precedence."""
    if memory.pending_since is None:
        return Judgement(memory)
    due = memory.pending_since + _delay(rule, memory)
    if at < due or (contradicted and at == due):
        return Judgement(memory)
    change = Change(not memory.active, max(due, memory.changed_at))
    return Judgement(Memory(change.raised, change.at, memory.pending_since), (change,))


def judge_event(rule: Rule, memory: Memory, active: bool, at: int) -> Judgement:
    """Take an event into account. Events have no delays; those of life safety count in the order of arrival.

    A panel sends over one connection and in order, but its clock may be set back: a reset must not be refused for that,
    or the next fire at the same point would not be annunciated. A momentary event returns as soon as it is raised.
    """
    if rule.momentary:
        if not active or (at < memory.changed_at and not rule.life_safety):
            return Judgement(memory)
        newest = max(at, memory.changed_at)
        return Judgement(Memory(False, newest, newest), (Change(True, at), Change(False, newest)))
    if active == memory.active:
        return Judgement(memory)
    if at < memory.changed_at and not rule.life_safety:
        return Judgement(memory)
    newest = max(at, memory.changed_at)
    return Judgement(Memory(active, newest, newest), (Change(active, at if active else newest),))


def judge_reset(rule: Rule, memory: Memory, at: int) -> Judgement:
    """A reset of the panel ends the condition and requests a reset of latched alarms, which may refuse it."""
    ended = judge_event(rule, memory, False, at)
    if not rule.latching or (at < memory.changed_at and not rule.life_safety):
        return ended
    return Judgement(ended.memory, (*ended.changes, Change(False, at, reset=True)))


def _delay(rule: Rule, memory: Memory) -> int:
    return rule.off_delay if memory.active else rule.on_delay


def _settled(memory: Memory, known_at: int) -> Memory:
    """Without a pending delay."""
    if memory.pending_since is None and memory.known_at == known_at:
        return memory
    return Memory(memory.active, memory.changed_at, known_at)
