"""Where messages go: a Publisher, or a list in a test."""

from typing import Protocol


class Outlet(Protocol):
    """Takes messages; may make the caller wait while it cannot take more."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Take one message."""

    async def flush(self) -> None:
        """Wait until everything has arrived."""
