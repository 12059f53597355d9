"""JSON of what could not be read, and of what nobody reads."""

from datetime import datetime

import msgspec


class QuarantineSummaryBody(msgspec.Struct, frozen=True):
    """What came into the quarantine of one site ("" where nobody can say it) in the last 24 hours; the newest of it."""

    site: str
    messages: int
    received_at: datetime
    topic: str
    reason: str


class UnreadTopicBody(msgspec.Struct, frozen=True):
    """A topic that is published and that nobody reads, and the first 256 bytes of its newest message, text or hex."""

    topic: str
    reason: str
    detail: str
    first_at: datetime
    last_at: datetime
    messages: int
    sample: str
    encoding: str


class QuarantineBody(msgspec.Struct, frozen=True):
    """A message that could not be read: at most the first 8 KiB of it, as text where it is text, else hex."""

    id: int
    received_at: datetime
    topic: str
    reason: str
    detail: str
    payload: str
    encoding: str
    size: int
    site: str
    """"" where nobody can say of which site it is."""
