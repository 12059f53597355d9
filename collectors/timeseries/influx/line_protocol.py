"""Readings as InfluxDB's line protocol: the same bytes as influxdb-client's Point, in a tenth of the time.

One series is a measurement (the kind) with the tags channel, equipment and site. Two additional fields hold the time of
receipt and the quality flags. Their names have blanks, which no field name of the wire contract has.

InfluxDB gives a field one type for all series of a measurement. So a text or boolean that the wire contract does not
define is stored under its name and its type ("colour text"): makes of device may use different types and nothing is
lost.
"""

from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Final

from collectors.timeseries.store import Series
from collectors.wire.fields import Channel, Kind, fields_of
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic

RECEIVED: Final = "received at"
QUALITY: Final = "quality flags"
OWN_FIELDS: Final = frozenset({RECEIVED, QUALITY})
_OURS: Final = " field"
_NAMED_BY_TYPE: Final[dict[Hashable, str]] = {bool: " boolean", str: " text"}
# Reserved by InfluxDB, or the names of our tags.
_TAKEN: Final = frozenset(
    {"time", "_time", "_field", "_measurement", "_value", "_start", "_stop", "site", "equipment", "channel"}
)
_KEY: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_TEXT: Final = str.maketrans({'"': r"\"", "\\": r"\\"})


def stored_name(kind: str, channel: str, name: str, kept_as: type) -> str:
    """The stored name of a field's value of a type."""
    return _stored_name(kind, channel, name, kept_as)


@lru_cache(maxsize=65536)
def _stored_name(kind: str, channel: str, name: str, kept_as: Hashable) -> str:
    if kept_as in _NAMED_BY_TYPE and name not in fields_of(Kind(kind), Channel(channel)):
        return name + _NAMED_BY_TYPE[kept_as]
    return name + _OURS if name in _TAKEN else name


def stored_names(kind: str, channel: str, name: str) -> list[str]:
    """Every name under which a field may be stored; the plain one of older contracts too."""
    names = [stored_name(kind, channel, name, kept_as) for kept_as in (float, bool, str)]
    return list(dict.fromkeys([*names, *(name + suffix for suffix in _NAMED_BY_TYPE.values())]))


def wire_name(stored: str) -> str:
    """The field of a stored name."""
    return stored.partition(" ")[0]


def encode(reading: Reading) -> str:
    """One reading as one line, its time key in nanoseconds."""
    fields = [f"{_key(name)}={_value(value)}" for name, value in sorted(_stored(reading).items())]
    return f"{_head(reading.topic)}{','.join(fields)} {reading.key}"


def encode_rollup(series: Series, suffix: str, at: int, rollup: Mapping[str, float | str]) -> str:
    """The rollup of the fields of a series from `at` on (epoch ms)."""
    site, kind, equipment, channel = series
    fields = ",".join(
        f"{_key(name)}={_value(value if isinstance(value, str) else float(value))}"
        for name, value in sorted(rollup.items())
    )
    return f"{kind}{suffix},channel={channel},equipment={equipment},site={site} {fields} {at * 1_000_000}"


def _stored(reading: Reading) -> dict[str, float | bool | str | int]:
    kind, channel = reading.topic.kind, reading.topic.channel
    stored: dict[str, float | bool | str | int] = {
        stored_name(kind, channel, name, type(value)): value for name, value in reading.fields.items()
    }
    stored[RECEIVED], stored[QUALITY] = _Whole(reading.received_at), _Whole(reading.quality)
    return stored


class _Whole(int):
    """An integer of our own fields; a device's numbers are floats."""


@lru_cache(maxsize=65536)
def _head(topic: Topic) -> str:
    return f"{topic.kind},channel={topic.channel},equipment={topic.equipment},site={topic.site} "


@lru_cache(maxsize=65536)
def _key(name: str) -> str:
    return name.translate(_KEY)


def _value(value: float | bool | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value.translate(_TEXT)}"'
    if isinstance(value, _Whole):
        return f"{value:d}i"
    return str(float(value)).removesuffix(".0")
