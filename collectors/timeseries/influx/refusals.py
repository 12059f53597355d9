"""Decides which readings to reject and which to send again when InfluxDB rejects some lines of a request: pure.

One reading is one line. If the response reports how many lines were rejected, and why, two requests are enough; if
not, the readings are halved, so that each fault costs a few requests and not one for each reading.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar

import msgspec

from collectors.timeseries.influx.answers import TOO_LARGE, Conflict, Unacceptable
from collectors.timeseries.influx.line_protocol import stored_name
from collectors.timeseries.store import Refused
from collectors.wire.reading import Reading

_TYPES: Final[dict[str, type]] = {"float": float, "boolean": bool, "string": str}
Item = TypeVar("Item")
_by_key: Final = attrgetter("key")


class Verdict(NamedTuple):
    """Readings (or fields of them) that are rejected permanently, and chunks to send again."""

    refused: list[Refused]
    again: list[list[Reading]]


def judge(readings: Sequence[Reading], fault: Unacceptable) -> Verdict:
    """The verdict on a rejected request with `readings`, at least one."""
    if fault.is_about_retention and fault.dropped is not None and 0 < fault.dropped <= len(readings):
        return _without_oldest(readings, fault.dropped, str(fault))
    conflict = fault.conflict
    if conflict is not None:
        wrong = [reading for reading in readings if _conflicting(reading, conflict)]
        if wrong and (len(wrong) == 1 or fault.dropped in {None, len(wrong)}):
            return _without_field(readings, conflict, str(fault))
        if wrong and len(wrong) < len(readings):
            rest = [reading for reading in readings if not _conflicting(reading, conflict)]
            return Verdict([], [rest, *_halves(wrong)])
    if len(readings) > 1:
        return Verdict([], _halves(list(readings)))
    fields = readings[0].fields
    if len(fields) > 1 and fault.status != TOO_LARGE:  # fields of one key become one point again
        return Verdict([], [[_with_fields(readings[0], part)] for part in _halves(list(fields))])
    return Verdict([Refused(readings[0], str(fault))], [])


def _without_oldest(readings: Sequence[Reading], number: int, why: str) -> Verdict:
    """`number` lines were rejected for their age, so they are the oldest ones."""
    ordered = sorted(readings, key=_by_key)
    rest = ordered[number:]
    return Verdict([Refused(reading, why) for reading in ordered[:number]], [rest] if rest else [])


def _without_field(readings: Sequence[Reading], conflict: Conflict, why: str) -> Verdict:
    """Remove a field of the wrong type from the readings of a kind; their other fields are kept."""
    kept: list[Reading] = []
    refused: list[Refused] = []
    for reading in readings:
        bad = _conflicting(reading, conflict)
        if not bad:
            kept.append(reading)
            continue
        refused.append(Refused(_with_fields(reading, bad), why))
        rest = [name for name in reading.fields if name not in bad]
        if rest:
            kept.append(_with_fields(reading, rest))
    return Verdict(refused, [kept] if kept else [])


def _conflicting(reading: Reading, conflict: Conflict) -> list[str]:
    """The fields of a reading that a conflict is about."""
    kind, channel = reading.topic.kind, reading.topic.channel
    if kind != conflict.measurement:
        return []
    wrong = _TYPES.get(conflict.sent_type)
    return [
        name
        for name, value in reading.fields.items()
        if type(value) is wrong and stored_name(kind, channel, name, type(value)) == conflict.field
    ]


def _with_fields(reading: Reading, names: Sequence[str]) -> Reading:
    return msgspec.structs.replace(reading, fields={name: reading.fields[name] for name in names})


def _halves(items: list[Item]) -> list[list[Item]]:
    middle = len(items) // 2
    return [half for half in (items[:middle], items[middle:]) if half]
