"""Newest values kept in memory: what a tile shows, whatever the order of arrival."""

from collections.abc import Iterable

from collectors.reading import Reading
from collectors.timeseries.store import Latest, LatestValue


def absorb(table: dict[tuple[str, str], Latest], readings: Iterable[Reading]) -> set[tuple[str, str]]:
    """Take readings into the table; return which equipment was heard."""
    heard: set[tuple[str, str]] = set()
    for reading in readings:
        topic = reading.topic
        who = (topic.site, topic.equipment)
        heard.add(who)
        known = table.get(who)
        if known is None:
            known = table[who] = Latest(topic.kind.value, reading.received_at, 0, {})
        known.heard_at = max(known.heard_at, reading.received_at)
        _take_fields(known, reading)
    return heard


def _take_fields(known: Latest, reading: Reading) -> None:
    at, fields = reading.measured_at, known.fields
    if at >= known.measured_at:
        known.measured_at = at
        for name, value in reading.fields.items():
            fields[name] = LatestValue(value, at)
        return
    for name, value in reading.fields.items():
        before = fields.get(name)
        if before is None or before.at <= at:
            fields[name] = LatestValue(value, at)
