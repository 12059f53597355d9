"""Rules: when does what an equipment says become an alarm? Pure: time comes in, decisions go out.

A rule looks at values and answers breached or not (`is_breached`); `judge` adds delays, by time of measurement,
and remembers. A value holds until the next one comes: a breach that stood for the whole delay is raised at the
moment the delay ended, whether a sample or the clock (`mature`) shows it first. What is over at that moment, or before,
raises nothing.
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
from gateway.equipment.topology import Relation


class Priority(StrEnum):
    """How urgent; critical is life safety and nothing else."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class RuleType(StrEnum):
    """What a rule looks at; docs/alarms.md explains each with an example."""

    LIMIT = "limit"
    STATE = "state"
    EVENT = "event"
    COMBINATION = "combination"
    RATE = "rate"
    COUNT = "count"
    NO_DATA = "no_data"
    ABSENCE = "absence"
    UNANSWERED = "unanswered"


class TicketWish(StrEnum):
    """Which ticket an alarm of this rule opens."""

    NONE = "none"
    REPAIR = "repair"
    EMERGENCY = "emergency"


Point: TypeAlias = tuple[int, Value]
"""When it was measured (epoch ms), and the value."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as the service works with it; `rule_files` reads and checks it. Delays are milliseconds."""

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
    """Rules that this one takes the place of, on the equipment that it is for."""
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
    """Combinations: what several fields say together."""
    match: Mapping[str, frozenset[Value]] = {}
    """Event rules: fields and the values that make the event this rule's."""
    unless: Mapping[str, frozenset[Value]] = {}
    """Event rules: fields and the values that make the event another rule's."""
    per: tuple[str, ...] = ()
    """Event rules: fields that make the part, so that a second detector is a second alarm."""
    per_otherwise: tuple[str, ...] = ()
    """What makes the part where an event has none of those: a conventional panel knows zones only."""
    window: int = 0
    """Rates and counts: how far back they look."""
    after: int = 0
    """No data: the least silence. Unanswered: the time for an answer. Absence: within which it must happen."""
    times: float = 0.0
    """No data: as many times the equipment's own interval must have passed as well."""
    channel: Channel = Channel.TELEMETRY
    """No data: the channel that must not fall silent."""
    of: str = ""
    """Unanswered: the rule whose alarm waits for an answer."""
    momentary: bool = False
    """Event rules: the event has no end of its own, so the alarm only waits to be acknowledged."""
    on_delay: int = 0
    off_delay: int = 0
    ticket: TicketWish = TicketWish.NONE
    playbook: str = ""
    latching: bool = False
    """The alarm outlasts its condition: it stays until it is reset."""
    re_alarm: int = 0
    """After so long of standing acknowledged it asks again, 0: never."""
    written: Mapping[str, Any] = {}
    """As it stands in its file, or with what a site has changed: what further changes are laid over."""
    file: str = ""
    """The file that it stands in, "" for a rule that a site has made for itself."""
    suppresses: frozenset[Relation] = frozenset()
    """While it stands it explains the alarms of what the equipment feeds or carries."""
    suppressed_by: tuple[str, ...] = ()
    """Rules on the same equipment: while one of their alarms stands this one tells nothing new."""
    despite_parent: bool = False
    """No cause on what feeds or carries the equipment explains it: it asks for an act of its own."""
    release_after: int = 0
    """A cause: how long what it explains waits when its condition has ended, for devices need time to come back."""

    @property
    def life_safety(self) -> bool:
        """Never damped, delayed, suppressed by a parent or grouped away."""
        return self.priority is Priority.CRITICAL


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule remembers of one part of one equipment. Times are epoch ms of measurement, but `pending_received`."""

    active: bool = False
    changed_at: int = 0
    known_at: int = 0
    """Time of the sample that the last change rests on; earlier than the change where a delay lay between."""
    pending_since: int | None = None
    pending_received: int | None = None
    """When the sample that began the delay was received: by it the clock knows that the delay has passed."""
    pending_value: Value | None = None
    """The value that began the delay."""
    points: tuple[Point, ...] = ()
    """Counts: the changes of value within the window, and the last one before it."""
    seen_at: int | None = None
    """Absence: when it was last seen to happen, or when the equipment was first heard; epoch ms of receipt."""
    retained: str = ""
    """Hash of the last message kept by a broker that was taken into account: it comes again at every start."""
    interval: int = 0
    """No data: the longest usual time between two messages, in ms; 0 while it is not known."""


class Change(NamedTuple):
    """The condition began (`raised`) or ended, at a time of measurement."""

    raised: bool
    at: int
    disproved: bool = False
    """It ends because a sample from before its begin came late: it had never been."""
    reset: bool = False
    """The panel was reset: what latches, and is over, is let go."""


class Judgement(NamedTuple):
    """The memory from now on, and what changed, in order of time."""

    memory: Memory
    changes: tuple[Change, ...] = ()


FRESH: Final = Memory()
BEAT: Final = "system.watchdog"
"""The id of the rule by which the service proves that alarms come through; nobody may change or replace it."""
_PART_LENGTH: Final = 128


def is_breached(rule: Rule, values: Mapping[str, Value], active: bool) -> bool | None:
    """Whether values are in alarm; None where the rule cannot tell (its field is absent or of another type).

    Args:
        rule: a limit, a state rule or a combination.
        values: newest values of the equipment.
        active: whether the condition stands: then a limit is left only beyond the deadband.
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
    slack = rule.deadband if active else 0.0
    return value > rule.above - slack or value < rule.below + slack


def inputs_of(rule: Rule) -> tuple[str, ...]:
    """The fields that decide, each once; events have none."""
    if rule.when is not None:
        return tuple(dict.fromkeys(name for leaf in leaves_of(rule.when) for name in names_in(leaf)))
    return tuple(dict.fromkeys(filter(None, (rule.field, *rule.condition))))


def looked_at_when_differing(rule: Rule) -> set[str]:
    """The inputs that a rule looks at whenever their value differs; all others have quiet bands."""
    if rule.when is not None:
        return compared_with(rule.when)
    return {*rule.condition, *(() if rule.type is RuleType.LIMIT else (rule.field,))}


def quiet_bands(rule: Rule, memory: Memory, values: Mapping[str, Value]) -> dict[str, Band]:
    """For each number that a rule looks at the values, ends included, that need no judgement."""
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
        return math.nextafter(rule.above - rule.deadband, math.inf), math.inf
    return -math.inf, math.nextafter(rule.below + rule.deadband, -math.inf)


def _meets_condition(rule: Rule, values: Mapping[str, Value]) -> bool:
    return all(values.get(name, wanted) == wanted for name, wanted in rule.condition.items())


def is_for(rule: Rule, code: str) -> bool:
    """Whether a rule's patterns name an equipment."""
    return any(fnmatchcase(code, pattern) for pattern in rule.equipment)


_ABOUT_PEOPLE: Final = ("title", "advice", "priority", "source", "ticket", "playbook", "latching", "written", "file")
_ABOUT_ALARMS: Final = ("re_alarm", "suppresses", "suppressed_by", "despite_parent", "release_after")
_DELAYS: Final = ("on_delay", "off_delay")
_PLAIN: Final = dict.fromkeys((*_ABOUT_PEOPLE, *_ABOUT_ALARMS, *_DELAYS, "equipment", "instead_of"))


def looks_alike(one: Rule, other: Rule) -> bool:
    """Whether two rules call the same values a breach; how long it must stand and what is said of it may differ."""
    return msgspec.structs.replace(one, **_PLAIN) == msgspec.structs.replace(other, **_PLAIN)


def is_match(rule: Rule, fields: Mapping[str, Value]) -> bool:
    """Whether an event is one of this rule's."""
    if any(fields.get(name) in excepted for name, excepted in rule.unless.items()):
        return False
    return all(fields.get(name) in wanted for name, wanted in rule.match.items())


def part_of(rule: Rule, fields: Mapping[str, Value]) -> str:
    """The part an event is about: "1-23" for loop and address, "1-" for a loop alone; else, say, its zone."""
    for names in (rule.per, rule.per_otherwise):
        if any(name in fields for name in names):
            return _shortened("-".join(str(fields.get(name, "")) for name in names))
    return ""


def _shortened(part: str) -> str:
    """A part of at most 128 characters; two long ones stay two."""
    if len(part) <= _PART_LENGTH:
        return part
    return f"{part[: _PART_LENGTH - 17]}~{hashlib.blake2b(part.encode(), digest_size=8).hexdigest()}"


def judge(
    rule: Rule, memory: Memory, breached: bool, at: int, received_at: int, *, corrects: bool = False
) -> Judgement:
    """Take one sample into account.

    Args:
        rule: for its delays.
        memory: from before.
        breached: what `is_breached` says of the sample.
        at: when it was measured.
        received_at: when it was received.
        corrects: the newest values say so, all of them, though the last of them to come was not the last measured.
    """
    if not corrects and (at < memory.known_at or (at == memory.known_at and not breached)):
        return Judgement(memory)  # measured before what the last change rests on: it cannot unsay it
    matured = _mature(rule, memory, at, contradicted=breached is memory.active)
    memory = matured.memory
    if breached == memory.active:
        known_at = at if matured.changes else memory.known_at
        return Judgement(_settled(memory, known_at), matured.changes)
    # Raised when a delay ended, and over at that very moment: it did not outlast its delay.
    at_its_begin = memory.known_at < at == memory.changed_at
    disproves = memory.active and (at < memory.changed_at or at_its_begin)
    if disproves or _delay(rule, memory) == 0:
        change = Change(breached, max(at, memory.changed_at), disproves)
        return Judgement(Memory(breached, change.at, at), (*matured.changes, change))
    if memory.pending_since is None:
        memory = Memory(memory.active, memory.changed_at, memory.known_at, at, received_at)
    return Judgement(memory, matured.changes)


def judge_in_order(rule: Rule, memory: Memory, breached: bool, now: int) -> Judgement:
    """Take into account what counts in the order in which the service notices it, as silence does.

    A message may be received before a look of the clock and judged after it, so no two times are compared to decide
    which of them is true: the later call is. `now` (epoch ms of receipt, or of the look) only dates what follows.
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

    What the sample says depends on the state that it meets: within the deadband it keeps up what stands, and raises
    nothing.
    """
    if memory.pending_since is None or at < memory.known_at or at <= memory.pending_since + _delay(rule, memory):
        return Judgement(memory)
    return _mature(rule, memory, at)


def mature(rule: Rule, memory: Memory, now: int) -> Judgement:
    """Let the clock end a delay: no sample has contradicted it for the whole of it."""
    return _mature_by_clock(rule, memory, now)


def _mature_by_clock(rule: Rule, memory: Memory, now: int, *, contradicted: bool = False) -> Judgement:
    if memory.pending_since is None or memory.pending_received is None:
        return Judgement(memory)
    at = memory.pending_since + now - memory.pending_received
    return _mature(rule, memory, at, contradicted=contradicted)


def _mature(rule: Rule, memory: Memory, at: int, *, contradicted: bool = False) -> Judgement:
    """End a delay at its due time; a sample of just that time which contradicts it comes before."""
    if memory.pending_since is None:
        return Judgement(memory)
    due = memory.pending_since + _delay(rule, memory)
    if at < due or (contradicted and at == due):
        return Judgement(memory)
    change = Change(not memory.active, max(due, memory.changed_at))
    return Judgement(Memory(change.raised, change.at, memory.pending_since), (change,))


def judge_event(rule: Rule, memory: Memory, active: bool, at: int) -> Judgement:
    """Take an event into account. Events have no delays; those of life safety count in the order of their arrival.

    A panel speaks over one connection and in order, but its clock may be set back: a reset must not be refused for
    that, or the next fire at the same point would go unheard. A momentary event is over as soon as it is told.
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
    """A panel that is reset ends the condition, and lets go of what latches; whether it may is for the alarm to say."""
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
