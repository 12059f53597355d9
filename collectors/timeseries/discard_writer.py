"""The keeper of a process whose history other processes write."""

from collections.abc import Sequence

from collectors.timeseries.store import Store
from collectors.wire.reading import Reading


class DiscardWriter:
    """Keeps nothing. The newest values stay live all the same, from the messages that this process hears itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, readings: Sequence[Reading]) -> None:
        """Show readings as the newest values."""
        self._store.update_latest(readings)
