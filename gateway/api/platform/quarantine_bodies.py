"""The JSON of unreadable messages, and of topics without a decoder."""

from datetime import datetime

import msgspec


class QuarantineSummaryBody(msgspec.Struct, frozen=True):
    """Quarantined messages of one site ("" if it is unknown) in the last 24 hours; the newest of them."""

    site: str
    messages: int
    received_at: datetime
    topic: str
    reason: str


class UnreadTopicBody(msgspec.Struct, frozen=True):
    """A published topic without a decoder, and the first 256 bytes of its newest message, as text or hex."""

    topic: str
    reason: str
    detail: str
    first_at: datetime
    last_at: datetime
    messages: int
    sample: str
    encoding: str


class QuarantineBody(msgspec.Struct, frozen=True):
    """An unreadable message: at most its first 8 KiB, as text if it is text, else hex."""

    id: int
    received_at: datetime
    topic: str
    reason: str
    detail: str
    payload: str
    encoding: str
    size: int
    site: str
    """"" if the site is unknown."""
