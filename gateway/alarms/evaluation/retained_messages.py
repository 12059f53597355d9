"""Retained messages: they arrive again at every start, and their age is not known. Pure.

For life safety a retained message counts until the opposite is known: a detector may have reported while the service
was down. Each counts once for a rule, also across restarts, and none if the device itself has reported since the start.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from collectors.wire.reading import Reading, Value
from gateway.alarms.evaluation.channel_state import ChannelState, RuleInstance
from gateway.alarms.evaluation.outcomes import Alone, Outcome, keep
from gateway.alarms.evaluation.watched_equipment import WatchedEquipment
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import RuleType, is_breached, is_match, judge_in_order, part_of

NOTE: Final = "kept by the broker; nobody knows how old it is"
_encode = msgspec.json.Encoder(order="deterministic").encode
_OF_VALUES: Final = frozenset({RuleType.LIMIT, RuleType.STATE})


def take_retained(known: WatchedEquipment, channel_state: ChannelState, reading: Reading, outcome: Outcome) -> None:
    """Raise the life-safety alarms of a retained message; it ends none."""
    name = hashlib.blake2b(_encode(reading.fields), digest_size=8).hexdigest()
    for instance, values in tuple(_in_breach(known, channel_state, reading)):
        with Alone(instance.key, reading, outcome):
            if instance.memory.active or instance.retained == name:
                continue
            instance.retained = name
            judgement = judge_in_order(instance.rule, instance.memory, True, reading.received_at)
            # Anything the device reports from now on is later.
            judgement = judgement._replace(memory=msgspec.structs.replace(judgement.memory, known_at=0))
            before = len(outcome.decisions)
            keep(instance, judgement, values, reading.received_at, outcome, reading.digest)
            outcome.decisions[before:] = [one._replace(note=NOTE) for one in outcome.decisions[before:]]


def _in_breach(
    known: WatchedEquipment, channel_state: ChannelState, reading: Reading
) -> Iterator[tuple[RuleInstance, dict[str, Value]]]:
    fields = reading.fields
    if reading.digest:
        if fields.get("active", True) is not False:
            for rule in channel_state.by_event:
                if rule.life_safety and is_match(rule, fields):
                    key = Key(reading.topic.site, reading.topic.equipment, part_of(rule, fields), rule.id)
                    yield (
                        known.add_instance(channel_state, key, reading.topic.kind, rule),
                        {rule.field: str(fields.get("text", ""))},
                    )
        return
    unknown = {name for name in fields if name not in channel_state.values or name in channel_state.recalled}
    values = {**channel_state.values, **fields}
    for instance in channel_state.watching(unknown).values():
        rule = instance.rule
        is_at_once = rule.life_safety and rule.type in _OF_VALUES and not rule.on_delay
        if is_at_once and is_breached(rule, values, active=False):
            yield instance, values
