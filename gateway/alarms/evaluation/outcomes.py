"""What follows from readings and from the clock: decisions, memories to keep, failures. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from collectors.wire.fields import Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import RuleInstance, with_habits
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
    """Of the event that shows it; "" where telemetry or the clock does."""
    zone: str = ""
    """Where in the building, as the event says it."""
    note: str = ""
    """For the journal: why it began or ended, where no sample says it."""


class Failure(NamedTuple):
    """A rule that could not be applied: what it was about, the error, and the reading, None where the clock asked."""

    key: Key
    error: Exception
    reading: Reading | None


class Outcome(NamedTuple):
    """What follows from some readings: decisions in order, the memories that have to be kept, and what went wrong."""

    decisions: list[Decision]
    memories: dict[Key, Memory]
    failures: list[Failure]

    def __bool__(self) -> bool:
        return bool(self.decisions or self.memories)


def no_rule(topic: Topic) -> Key:
    """The key of what is about an equipment and no single rule."""
    return Key(topic.site, topic.equipment, "", "")


class Alone:
    """One rule that fails is told of, and keeps no other rule from being applied."""

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
    """Remember a judgement, and note what follows from it.

    An alarm tells the value that was in breach: without a delay that of the sample which raised it, with one the value
    that held when the delay ended. What the sample says that ended the breach is not told.

    Args:
        watch: what was judged.
        judgement: of its rule.
        values: what it rests on.
        received_at: when that was received, epoch ms.
        outcome: where decisions and memory are noted.
        digest: of the event that shows it.
        zone: as the event says it.
        before: when the sample was measured, and the value until then: what a delay has ended earlier rests on that.
    """
    value, told = values.get(instance.rule.field), instance.breach_value
    memory, changes = with_habits(instance, judgement.memory), judgement.changes
    if memory.pending_since is not None and not memory.active:
        told = instance.breach_value = value
        if instance.memory.pending_since is None:
            memory = msgspec.structs.replace(memory, pending_value=value)
    elif instance.memory.pending_since is None or instance.memory.active:
        told = value
    quiet = quiet_bands(instance.rule, memory, values) if instance.bands_by_field else {}
    if memory != instance.memory:  # from here on nothing fails: what is remembered is decided too
        instance.memory = outcome.memories[instance.key] = memory
    for name, band in quiet.items():
        instance.bands_by_field[name].low, instance.bands_by_field[name].high = band
    for change in changes:
        held = before[1] if before is not None and change.at < before[0] else value
        shown = told if change.raised else held
        outcome.decisions.append(
            Decision(instance.key, instance.rule, instance.kind, change, shown, received_at, digest, zone)
        )
