"""The writer of a process whose history is written by other processes."""

from collections.abc import Sequence

from collectors.timeseries.store import Store
from collectors.wire.reading import Reading


class DiscardWriter:
    """Stores nothing. The newest values stay current from the messages that this process receives."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, readings: Sequence[Reading]) -> None:
        """Show readings as the newest values."""
        self._store.update_latest(readings)
