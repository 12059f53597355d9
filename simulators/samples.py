"""A device's report at one moment, and its encoding on the wire (wire contract: one JSON object)."""

from typing import TypeAlias

import msgspec

from collectors.wire.fields import Channel

Value: TypeAlias = float | bool | str
"""Numbers are float64 from the wire to the store."""


class Sample(msgspec.Struct, frozen=True):
    """One object of one channel, without its time."""

    channel: Channel
    fields: dict[str, Value]


def encode_sample(fields: dict[str, Value], at_ms: int, seq: int) -> bytes:
    """The payload. `at` is epoch milliseconds; with `at` and `seq` a redelivery is recognised."""
    return msgspec.json.encode({"at": at_ms, "seq": seq, **fields})


def encode_samples(rows: list[tuple[dict[str, Value], int, int]]) -> bytes:
    """The payload of a device with stored samples: fields, `at` and `seq` of each."""
    return msgspec.json.encode([{"at": at_ms, "seq": seq, **fields} for fields, at_ms, seq in rows])
