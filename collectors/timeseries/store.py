"""The protocol of a time-series store and the laws of all stores, tested by tests/collectors/timeseries/test_stores.py.

* `write` returns when the readings are durable. Writing a reading again changes nothing; two readings
  with one time key and different fields become one with the fields of both, the later write winning.
* `latest` is the newest value of each field by time of measurement (of receipt, where the clock is in doubt) and
  survives a restart. In memory it may run ahead of a write that is being tried again.
* `history` gives numbers as buckets of min, mean and max (one a sample where there are few), text and booleans as
  the changes of their value. It is exact at any moment, late data included: rollups (by minute, hour and day) are only
  used where nothing was written since they were made.
* `readings` gives back what was written: fields, time of measurement and of receipt, time key and quality. Not what a
  store has no use for: sequence number, part, redelivery, digest.
* Changes are never thinned out: a door that opened 200 times a day would seem to have opened once. Each one that is
  told was measured at that moment, none between two of them is missing, and where there are more than were asked for
  it is the older ones that are left out, and said to be.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from collectors.device_clocks import Doubt
from collectors.wire.reading import Reading, Value

DEFAULT_POINTS = 500
CHUNK_ROWS = 2_000
"""Readings that are handed out at once: little enough that nobody else waits for the store meanwhile."""


class StoreUnavailable(Exception):
    """The store cannot be reached or cannot write now; the whole batch can be tried again.

    A store that is reached over a network may have kept part of it: writing that again changes nothing.
    """


class Series(NamedTuple):
    """One equipment's channel."""

    site: str
    kind: str
    equipment: str
    channel: str


class LatestValue(NamedTuple):
    """A value and when it was measured (epoch ms)."""

    value: Value
    at: int


class Latest(msgspec.Struct):
    """The current value of each field of one equipment, and how far they may be believed; see `device_clocks`."""

    kind: str
    heard_at: int
    """When the last sample was received that was news (epoch ms); 0 where nothing but kept values is known."""
    fields: dict[str, LatestValue]
    clock: Doubt = Doubt.NONE
    """What is wrong with the clock of the last of them."""


class Bucket(NamedTuple):
    """Numbers from `at` (epoch ms) on until the next bucket; `samples` of them."""

    at: int
    least: float
    mean: float
    most: float
    samples: int


class Change(NamedTuple):
    """From `at` (epoch ms) on the value was this."""

    at: int
    value: bool | str


class History(msgspec.Struct):
    """`buckets` for a field of numbers, `changes` for text and booleans; `raw` when each bucket is one sample.

    The first change is the first sample in the range, or with `older_left_out` the oldest change that still had room:
    nothing is told of the time before it. The changes before it are those of the range that ends at its `at`.
    """

    raw: bool
    buckets: list[Bucket]
    changes: list[Change]
    older_left_out: bool = False


class Refused(NamedTuple):
    """A reading that the store will never take, and why."""

    reading: Reading
    why: str


class Store(Protocol):
    """Where readings are kept. All times are epoch milliseconds; ranges hold their start and not their end."""

    async def open(self) -> None:
        """Make ready what is needed. What cannot be reached or used now is tried again by itself."""

    async def close(self) -> None:
        """Let go of files and connections."""

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        """Keep readings; return those that never can be. Raises StoreUnavailable: try all of them again."""

    def update_latest(self, readings: Sequence[Reading]) -> None:
        """Let `latest` show readings that will be written later. Does not wait for anything."""

    def note_received(self, equipment: tuple[str, str], kind: str, received_at: int) -> None:
        """Let `latest` show that something which is no value, an event, was received at a time (epoch ms)."""

    def latest(self) -> Mapping[tuple[str, str], Latest]:
        """(site, equipment) -> newest values. The store's own live view: look, do not change."""

    def forget_latest(self, equipment: Iterable[tuple[str, str]]) -> None:
        """Let `latest` show nothing of these until they are heard again; the history keeps what it has."""

    def clock_was_set(self, now: int) -> None:
        """The clock was set, perhaps back: nothing in `latest` is from later than now (epoch ms)."""

    async def refresh_latest(self) -> set[tuple[str, str]]:
        """Let `latest` show what other processes have written too; whom that concerns. Raises StoreUnavailable."""

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        """What a field was between `start` and `end`, in at most `points` buckets or the newest `points` changes.

        Where rollups draw it, buckets begin at whole minutes, hours or days UTC (the first one at `start`), so they
        may be fewer than `points`; each holds exactly the samples from its `at` to the next one's.
        """

    async def readings(
        self, series: Series, start: int, end: int, after: int = -1, most: int = CHUNK_ROWS
    ) -> list[Reading]:
        """The next readings of a range as they were kept, in order of their time keys; none where there are no more.

        Args:
            series: whose.
            start: epoch ms.
            end: epoch ms.
            after: time key of the last reading of the portion before; -1 for the first portion.
            most: at most so many.

        Raises:
            StoreUnavailable: ask again later.
        """

    async def roll_up(self) -> int:
        """Make rollups of a portion of what was written; return how many minutes. Runs by itself while open."""

    async def rollups_due(self) -> int:
        """How many minutes of how many series wait for their rollups, the one that is not over yet included."""

    def rollups_refused(self) -> int:
        """How many rollups the store would not take since the start; their samples show in no coarse picture."""

    async def erase_before(self, moment: int) -> int:
        """Forget readings measured before `moment`; return how many."""
