"""Rules: when does what an equipment says become an alarm? Pure: time comes in, decisions go out.

A rule looks at values and answers breached or not (`is_breached`); `judge` adds delays, by time of measurement,
and remembers. A value holds until the next one comes: a breach that stood for the whole delay is raised at the
moment the delay ended, whether a sample or the clock (`mature`) shows it first.
"""

import hashlib
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from collectors.fields import Kind
from collectors.reading import Value


class Priority(StrEnum):
    """How urgent; critical is life safety and nothing else."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class RuleType(StrEnum):
    """What a rule looks at: a number against a limit, a value in a set, an event."""

    LIMIT = "limit"
    STATE = "state"
    EVENT = "event"


class TicketWish(StrEnum):
    """Which ticket an alarm of this rule opens."""

    NONE = "none"
    REPAIR = "repair"
    EMERGENCY = "emergency"


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
    match: Mapping[str, frozenset[Value]] = {}
    """Event rules: fields and the values that make the event this rule's."""
    unless: Mapping[str, frozenset[Value]] = {}
    """Event rules: fields and the values that make the event another rule's."""
    per: tuple[str, ...] = ()
    """Event rules: fields that make the part, so that a second detector is a second alarm."""
    per_otherwise: tuple[str, ...] = ()
    """What makes the part where an event has none of those: a conventional panel knows zones only."""
    on_delay: int = 0
    off_delay: int = 0
    ticket: TicketWish = TicketWish.NONE
    playbook: str = ""
    latching: bool = False

    @property
    def life_safety(self) -> bool:
        """Never damped, delayed, suppressed by a parent or grouped away."""
        return self.priority is Priority.CRITICAL


class Memory(msgspec.Struct, frozen=True):
    """What a rule remembers of one part of one equipment. Times are epoch ms of measurement, but `pending_received`."""

    active: bool = False
    changed_at: int = 0
    known_at: int = 0
    """Time of the sample that the last change rests on; earlier than the change where a delay lay between."""
    pending_since: int | None = None
    pending_received: int | None = None
    """When the sample that began the delay was received: by it the clock knows that the delay has passed."""


class Change(NamedTuple):
    """The condition began (`raised`) or ended, at a time of measurement."""

    raised: bool
    at: int


class Judgement(NamedTuple):
    """The memory from now on, and what changed, in order of time."""

    memory: Memory
    changes: tuple[Change, ...] = ()


FRESH: Final = Memory()
_PART_LENGTH: Final = 128


def is_breached(rule: Rule, values: Mapping[str, Value], active: bool) -> bool | None:
    """Whether values are in alarm; None where the rule cannot tell (its field is absent or of another type).

    Args:
        rule: a limit or a state rule.
        values: newest values of the equipment.
        active: whether the condition stands: then a limit is left only beyond the deadband.
    """
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


def quiet_band(rule: Rule, memory: Memory, values: Mapping[str, Value]) -> tuple[float, float]:
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


def judge(rule: Rule, memory: Memory, breached: bool, at: int, received_at: int) -> Judgement:
    """Take one sample into account.

    Args:
        rule: for its delays.
        memory: from before.
        breached: what `is_breached` says of the sample.
        at: when it was measured.
        received_at: when it was received.
    """
    if at < memory.known_at or (at == memory.known_at and not breached):
        return Judgement(memory)  # measured before what the last change rests on: it cannot unsay it
    matured = _mature(rule, memory, at)
    memory = matured.memory
    if breached == memory.active:
        known_at = at if matured.changes else memory.known_at
        return Judgement(_settled(memory, known_at), matured.changes)
    if _delay(rule, memory) == 0:
        change = Change(breached, max(at, memory.changed_at))
        return Judgement(Memory(breached, change.at, at), (*matured.changes, change))
    if memory.pending_since is None:
        memory = Memory(memory.active, memory.changed_at, memory.known_at, at, received_at)
    return Judgement(memory, matured.changes)


def mature(rule: Rule, memory: Memory, now: int) -> Judgement:
    """Let the clock end a delay: no sample has contradicted it for the whole of it."""
    if memory.pending_since is None or memory.pending_received is None:
        return Judgement(memory)
    return _mature(rule, memory, memory.pending_since + now - memory.pending_received)


def _mature(rule: Rule, memory: Memory, at: int) -> Judgement:
    if memory.pending_since is None:
        return Judgement(memory)
    due = memory.pending_since + _delay(rule, memory)
    if at < due:
        return Judgement(memory)
    change = Change(not memory.active, max(due, memory.changed_at))
    return Judgement(Memory(change.raised, change.at, memory.pending_since), (change,))


def judge_event(rule: Rule, memory: Memory, active: bool, at: int) -> Judgement:
    """Take an event into account. Events have no delays; those of life safety count in the order of their arrival.

    A panel speaks over one connection and in order, but its clock may be set back: a reset must not be refused for
    that, or the next fire at the same point would go unheard.
    """
    if active == memory.active:
        return Judgement(memory)
    if at < memory.changed_at and not rule.life_safety:
        return Judgement(memory)
    newest = max(at, memory.changed_at)
    return Judgement(Memory(active, newest, newest), (Change(active, at if active else newest),))


def _delay(rule: Rule, memory: Memory) -> int:
    return rule.off_delay if memory.active else rule.on_delay


def _settled(memory: Memory, known_at: int) -> Memory:
    """Without a pending delay."""
    if memory.pending_since is None and memory.known_at == known_at:
        return memory
    return Memory(memory.active, memory.changed_at, known_at)
