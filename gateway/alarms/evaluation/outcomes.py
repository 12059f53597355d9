"""Results of readings and ticks: decisions, memories to store, failures. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from collectors.wire.fields import Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import RuleInstance, with_series
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import Change, Judgement, Memory, Rule, quiet_bands


class Decision(NamedTuple):
    """A condition that began or ended, and the sample that shows it."""

    key: Key
    rule: Rule
    kind: Kind
    change: Change
    value: Value | None
    received_at: int
    digest: str = ""
    """Digest of the event that shows it; "" for telemetry or the clock."""
    zone: str = ""
    """Zone of the building, as the event reports it."""
    note: str = ""
    """For the journal: why it began or ended, where no sample shows it."""


class Failure(NamedTuple):
    """A rule that could not be applied: its key, the error, and the reading; None for a tick."""

    key: Key
    error: Exception
    reading: Reading | None


class Outcome(NamedTuple):
    """Result of some readings: decisions in order, memories to store, and failures."""

    decisions: list[Decision]
    memories: dict[Key, Memory]
    failures: list[Failure]

    def __bool__(self) -> bool:
        return bool(self.decisions or self.memories)


def no_rule(topic: Topic) -> Key:
    """A key for an equipment without a rule."""
    return Key(topic.site, topic.equipment, "", "")


class Alone:
    """Isolates one rule: its failure is recorded and does not prevent other rules from being applied."""

    __slots__ = ("_key", "_outcome", "_reading")

    def __init__(self, key: Key, reading: Reading | None, outcome: Outcome) -> None:
        self._key = key
        self._reading = reading
        self._outcome = outcome

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._outcome.failures.append(Failure(self._key, error, self._reading))
        return True


def keep(
    instance: RuleInstance,
    judgement: Judgement,
    values: Mapping[str, Value],
    received_at: int,
    outcome: Outcome,
    digest: str = "",
    zone: str = "",
    before: tuple[int, Value | None] | None = None,
) -> None:
    """Store a judgement in memory, and add its decisions to the outcome.

    An alarm reports the value that was in breach: without a delay that of the sample which raised it, with one the
    value that held when the delay ended. The value of the sample that ended the breach is not reported.

    Args:
        instance: what was judged.
        judgement: of its rule.
        values: the values it is based on.
        received_at: when they were received, epoch ms.
        outcome: receives decisions and memory.
        digest: of the event that shows it.
        zone: as the event reports it.
        before: when the sample was measured, and the value until then, for a delay that ended earlier.
    """
    value, shown = values.get(instance.rule.field), instance.breach_value
    memory, changes = with_series(instance, judgement.memory), judgement.changes
    if memory.pending_since is not None and not memory.active:
        shown = instance.breach_value = value
        if instance.memory.pending_since is None:
            memory = msgspec.structs.replace(memory, pending_value=value)
    elif instance.memory.pending_since is None or instance.memory.active:
        shown = value
    quiet = quiet_bands(instance.rule, memory, values) if instance.bands_by_field else {}
    if memory != instance.memory:  # nothing fails from here on: memory and decisions stay consistent
        instance.memory = outcome.memories[instance.key] = memory
    for name, band in quiet.items():
        instance.bands_by_field[name].low, instance.bands_by_field[name].high = band
    for change in changes:
        held = before[1] if before is not None and change.at < before[0] else value
        reported = shown if change.raised else held
        outcome.decisions.append(
            Decision(instance.key, instance.rule, instance.kind, change, reported, received_at, digest, zone)
        )


def outcome_of(outcome: Outcome, items: Sequence[Key | Reading]) -> Outcome:
    """The part of an outcome that concerns some keys, in its order."""
    keys = {item for item in items if isinstance(item, Key)}
    decisions = [decision for decision in outcome.decisions if decision.key in keys]
    return Outcome(decisions, {key: memory for key, memory in outcome.memories.items() if key in keys}, [])


def shown_by(outcome: Outcome, key: Key, readings: Sequence[Reading]) -> Reading | None:
    """The reading that a key's last decision is based on; None if the clock decided."""
    last = next((decision for decision in reversed(outcome.decisions) if decision.key == key), None)
    if last is None:
        return None
    who = (key.site, key.equipment, last.digest, last.received_at)
    return next(
        (item for item in readings
         if (item.topic.site, item.topic.equipment, item.digest, item.received_at) == who), None,
    )  # fmt: skip
