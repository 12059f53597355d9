"""The sink of messages: a Publisher, or a list in a test."""

from typing import Protocol


class Outlet(Protocol):
    """Takes messages; may block the caller while it is full."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Take one message."""

    async def flush(self) -> None:
        """Wait until everything has arrived."""
