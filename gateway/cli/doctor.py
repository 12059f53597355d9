"""Explains how one message is processed: for connecting a device or writing a mapping.

The message passes the same steps as in the service (decoder, mapping, rules), without state and without writing
anything.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from collectors.mqtt.message import Message
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.format_by_topic import Beside, Decoder, NamedTopic, Route, decode_by
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.mapping import Defaults, load_mappings, shipped_names
from collectors.payloads.samples import Decoded
from collectors.wire.fields import Channel, fields_of
from collectors.wire.reading import Quality, Reading, Value, to_datetime
from collectors.wire.topics import Topic
from gateway.alarms.built_in.unreadable import UnreadableMessages
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.rule import Rule, RuleType, TicketWish, inputs_of, is_for, is_match

_SHOWN: Final = 200
_NS_PER_MS: Final = 1_000_000
_LATE_WINDOW_MS: Final = 60_000
_READINGS_SHOWN: Final = 20
_LEFT_OUT_SHOWN: Final = 12
_ADVICE: Final[dict[Reason, str]] = {
    Reason.BAD_TOPIC: "Publish to gengfu/SITE/KIND/CODE/CHANNEL, or correct the mapping under readings.",
    Reason.NO_MAPPING: "Add a mapping for this topic to collect.mappings, or write one (docs/devices.md).",
    Reason.TOO_LARGE: "Make the device send smaller messages.",
    Reason.EMPTY: "An empty message deletes a retained one at the broker; it has no readings.",
    Reason.BAD_ENCODING: "Set the payload format in the mapping: json, text, hex or base64.",
    Reason.NOT_JSON: "Make the device send JSON in UTF-8; a plain word needs 'payload: text' in its mapping.",
    Reason.NOT_OBJECT: "Send one JSON object, or an array of objects.",
    Reason.NO_FIELDS: "If this message should have readings, compare its names with the expected fields.",
    Reason.DUPLICATE_KEY: "The device's JSON has a duplicate key; only the last value is used.",
    Reason.TOO_MANY_FIELDS: "List the relevant fields in a mapping instead of reading all of them.",
    Reason.BAD_FIELD: "Make the device send the expected type, or convert it in a mapping.",
    Reason.UNKNOWN_CHOICE: "Map the device's word to one of the contract's; until then it is only stored.",
    Reason.TOO_MANY_SAMPLES: "Make the device send its buffered data in smaller messages.",
    Reason.BAD_TIME: "Set the time format, and the time zone if it has none; until then the time of receipt is used.",
    Reason.REFUSED_BY_STORE: "The field was stored with another type before; rename it.",
    Reason.LEFT_OUT: "Add these places to fields in a mapping if they are needed.",
    Reason.NOT_DECIDED: "Check this equipment manually, then report the error: a rule or its alarm failed on it.",
}
_QUALITY: Final[dict[Quality, str]] = {
    Quality.NO_TIME: "no time in the message: the time of receipt is used",
    Quality.FUTURE: "measured in the future: the device's clock is ahead",
    Quality.OLD: "measured more than seven days ago: stored; the rules below treat it as current",
    Quality.LATE: "too late to change an alarm",
    Quality.PARTIAL: "some of it could not be read and was ignored",
    Quality.RETAINED: "retained by the broker, without a time: shown; for life safety it raises its alarm, once",
    Quality.CONVERTED: "framing, encoding or spelling differs from the contract, but could be read",
    Quality.IMPLAUSIBLE: "a value is implausible: stored and shown; only the rule `doubtful` evaluates it",
    Quality.OTHER_UNIT: "its time was in seconds, microseconds or nanoseconds, and was converted",
    Quality.CLOCK_WRONG: "the device's clock is behind or was never set: the time of receipt is used",
    Quality.REPEATED: "same time and fields as before, or retained by the broker: not a sign of life of the device",
    Quality.UNKNOWN_FIELD: "has fields that the wire contract does not name: stored and marked unknown",
}


class Findings(msgspec.Struct, frozen=True):
    """The report, and whether anything could be read."""

    lines: list[str]
    readable: bool


def read_payload(text: str) -> bytes:
    """A payload from the command line: plain text, @FILE, hex:0A0B or base64:Cgs=. Raises ValueError, OSError."""
    if text.startswith("@"):
        return Path(text[1:]).read_bytes()
    how, _, coded = text.partition(":")
    try:
        if how == "hex":
            return bytes.fromhex(coded)
        return base64.b64decode(coded, validate=True) if how == "base64" else text.encode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from error
    except ValueError as error:
        raise ValueError(f"hex: {error}") from error


def examine(
    decoder: Decoder, rules: Sequence[Rule], topic: str, payload: bytes, received_at: int, defaults: Defaults
) -> Findings:
    """Follow one message.

    Args:
        decoder: the formats in use.
        rules: the rules in force.
        topic: as the device publishes.
        payload: as the device publishes.
        received_at: epoch milliseconds, the simulated time of receipt.
        defaults: for finding a shipped mapping that matches.
    """
    route = decoder.route(topic)
    lines = [f"Topic    {topic}", f"Payload  {len(payload)} bytes: {_excerpt(payload)}"]
    lines += [f"Decoder  {_describe(route)}"]
    decoded = decode_by(route, payload, received_at)
    for number, reading in enumerate(decoded.readings[:_READINGS_SHOWN], 1):
        lines += ["", f"Reading {number} of {len(decoded.readings)}: {reading.topic}", *_reading_lines(reading)]
    if len(decoded.readings) > _READINGS_SHOWN:
        lines.append(f"... and {len(decoded.readings) - _READINGS_SHOWN} more")
    if isinstance(route, MappedTopic):
        lines += _mapping_lines(route, payload)
    if decoded.faults:
        lines += ["", f"What could not be read{_end(decoded)}"]
        lines += [f"  {fault.reason}: {fault.detail}\n    {_ADVICE[fault.reason]}" for fault in decoded.faults[:10]]
    if isinstance(route, Fault) and route.reason is Reason.NO_MAPPING:
        lines += _suggestions(topic, defaults)
    unreadable = _unreadable_events(rules, topic, payload, received_at, route, decoded)
    if decoded.readings or unreadable:
        lines += ["", "Rules", *_rule_lines(rules, [*decoded.readings, *unreadable])]
    return Findings(lines, bool(decoded.readings))


def _unreadable_events(
    rules: Sequence[Rule], topic: str, payload: bytes, received_at: int, route: Route, decoded: Decoded
) -> list[Reading]:
    """The alarm that the service would raise for an unreadable life-safety message."""
    if not decoded.faults:
        return []
    message = Message(topic, payload, 0, 0, received_at * _NS_PER_MS)
    return UnreadableMessages(rules, lambda _site, _equipment: ()).look(message, route, decoded)


def _end(decoded: Decoded) -> str:
    if decoded.readings:
        return ""
    if decoded.faults[0].reason is Reason.NO_MAPPING:
        return ": the service does not subscribe to this topic; if it is received all the same, it is quarantined"
    return ": the message is quarantined"


def _describe(route: Route) -> str:
    if isinstance(route, Topic | NamedTopic):
        return "native: the topic is of the wire contract"
    if isinstance(route, Beside):
        return f"none: mapping {route.mapping} lists it under beside, as housekeeping"
    if isinstance(route, Fault):
        return "none"
    bound = ", ".join(f"{name} = {text}" for name, text in route.bound.items())
    about = f" ({route.mapping.about})" if route.mapping.about else ""
    return f"mapping {route.mapping.name}{about}" + (f"; from the topic: {bound}" if bound else "")


def _excerpt(payload: bytes) -> str:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        text = payload.hex(" ")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _reading_lines(reading: Reading) -> Iterator[str]:
    known = fields_of(reading.topic.kind, reading.topic.channel)
    width = max(map(len, reading.fields))
    for name, value in reading.fields.items():
        unit = f" {known[name].unit}" if name in known and known[name].unit else ""
        note = "" if name in known else "   (unknown field)"
        choices = known[name].choices if name in known else ()
        if choices and value not in choices:
            note = f"   (usual: {', '.join(choices)})"
        yield f"  {name:{width}}  {_written(value)}{unit}{note}"
    yield f"  measured at {to_datetime(reading.measured_at).isoformat()}"
    if reading.seq is not None:
        yield f"  sequence number {reading.seq}"
    quality = Quality(reading.quality)
    words = [f"{str(flag.name).lower()}: {text}" for flag, text in _QUALITY.items() if flag in quality]
    yield from (f"  quality {word}" for word in words or ["good"])
    if Quality.NO_TIME in quality and reading.seq is None:
        yield "  without a time and a sequence number a duplicate message counts twice"


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.15g}" if isinstance(value, float) else f'"{value}"'


def _mapping_lines(route: MappedTopic, payload: bytes) -> list[str]:
    lines = [f"  left out: {text}" for text in route.sentinels(payload)[:_LEFT_OUT_SHOWN]]
    pointers = [where for where, _ in route.left_out(payload)]
    if pointers:
        more = " ..." if len(pointers) > _LEFT_OUT_SHOWN else ""
        lines.append(f"  the mapping does not read {', '.join(pointers[:_LEFT_OUT_SHOWN])}{more}")
    return ["", "Left out", *lines] if lines else []


def _suggestions(topic: str, defaults: Defaults) -> list[str]:
    """Shipped mapping files that match the topic."""
    names = [
        name
        for name in shipped_names()
        if isinstance(Decoder(load_mappings([name], defaults)).route(topic), MappedTopic)
    ]
    return [f'    {name} ships with Gengfu and matches it: collect.mappings = ["{name}"]' for name in names]


def _rule_lines(rules: Sequence[Rule], readings: Sequence[Reading]) -> Iterator[str]:
    watches = RuleEvaluator(rules, {}, _LATE_WINDOW_MS)
    shown: set[tuple[str, str]] = set()
    for reading in readings:
        outcome = watches.take([reading])
        raised = {decision.rule.id for decision in outcome.decisions if decision.change.raised}
        waiting = {key.rule for key, memory in outcome.memories.items() if memory.pending_since is not None}
        for rule in _interested(rules, reading):
            result = _result(rule, rule.id in raised, rule.id in waiting)
            if (rule.id, result) not in shown:
                shown.add((rule.id, result))
                yield f"  {rule.id} ({rule.priority}): {result}"
    if not shown:
        yield "  none uses it: it is stored as history and raises no alarm"


def _result(rule: Rule, raised: bool, waiting: bool) -> str:
    if raised:
        ticket = f" and opens a ticket ({rule.ticket})" if rule.ticket is not TicketWish.NONE else ""
        return f'raises "{rule.title["en"]}" at once{ticket}'
    if waiting:
        return f'raises "{rule.title["en"]}" when it stays so for {rule.on_delay / 1000:g} s'
    inputs = ", ".join(inputs_of(rule))
    return f"evaluates {inputs} and raises no alarm" if inputs else "evaluates it and raises no alarm"


def _interested(rules: Sequence[Rule], reading: Reading) -> list[Rule]:
    """Rules that use something in the reading."""
    topic, fields = reading.topic, reading.fields
    mine = [rule for rule in rules if rule.kind is topic.kind and is_for(rule, topic.equipment)]
    replaced = {identity for rule in mine for identity in rule.instead_of}
    mine = [rule for rule in mine if rule.id not in replaced]
    if topic.channel is Channel.EVENT:
        return [rule for rule in mine if rule.type is RuleType.EVENT and is_match(rule, fields)]
    return [
        rule for rule in mine if rule.type is not RuleType.EVENT and any(name in fields for name in inputs_of(rule))
    ]
