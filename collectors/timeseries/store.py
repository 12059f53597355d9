"""The protocol of a time-series store and the contract of all stores (tests/collectors/timeseries/test_stores.py).

* `write` returns when the readings are durable. Writing a reading again changes nothing; two readings
  with one time key and different fields become one with the fields of both, the later write winning.
* `latest` is the newest value of each field by time of measurement (of receipt, if the clock is doubtful) and
  survives a restart. In memory it may be ahead of a write that is being retried.
* `history` returns numbers as buckets of min, mean and max (one bucket for each sample if there are few), text and
  booleans as the changes of their value. It is always exact, late data included: rollups (by minute, hour and day) are
  only used if nothing was written since they were made.
* `readings` returns what was written: fields, time of measurement and of receipt, time key and quality. It omits
  sequence number, part, redelivery and digest.
* Changes are never downsampled: a door that opened 200 times a day would seem to have opened once. Each reported change
  was measured at that moment, and none between two of them is missing. If there are more than requested, the older ones
  are left out, and the result says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from collectors.device_clocks import Doubt
from collectors.wire.reading import Reading, Value

DEFAULT_POINTS = 500
CHUNK_ROWS = 2_000
"""Readings that are returned at once: few enough not to delay other users of the store."""


class StoreUnavailable(Exception):
    """The store cannot be reached or cannot write now; the whole batch can be retried.

    A remote store may have stored a part of it: writing that again changes nothing.
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
    """The current value of each field of one equipment, and their reliability; see `device_clocks`."""

    kind: str
    heard_at: int
    """When the last new sample was received (epoch ms); 0 if only retained values are known."""
    fields: dict[str, LatestValue]
    clock: Doubt = Doubt.NONE
    """The fault of the device's clock at the last of them."""


class Bucket(NamedTuple):
    """Numbers from `at` (epoch ms) on until the next bucket; `samples` of them."""

    at: int
    least: float
    mean: float
    most: float
    samples: int


class Change(NamedTuple):
    """The value from `at` (epoch ms) on."""

    at: int
    value: bool | str


class History(msgspec.Struct):
    """`buckets` for a field of numbers, `changes` for text and booleans; `raw` when each bucket is one sample.

    The first change is the first sample in the range, or with `older_left_out` the oldest change within the limit:
    the time before it is not covered. Earlier changes are those of the range that ends at its `at`.
    """

    raw: bool
    buckets: list[Bucket]
    changes: list[Change]
    older_left_out: bool = False


class Refused(NamedTuple):
    """A reading that the store rejects permanently, and why."""

    reading: Reading
    why: str


class Store(Protocol):
    """A store of readings. All times are epoch milliseconds; ranges include their start and exclude their end."""

    async def open(self) -> None:
        """Open files and connections. Those that cannot be used now are retried automatically."""

    async def close(self) -> None:
        """Close files and connections."""

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        """Store readings; return those that are rejected permanently. Raises StoreUnavailable: retry all of them."""

    def update_latest(self, readings: Sequence[Reading]) -> None:
        """Update `latest` with readings that will be written later. Does not block."""

    def note_received(self, equipment: tuple[str, str], kind: str, received_at: int) -> None:
        """Record in `latest` that an event, which has no value, was received at a time (epoch ms)."""

    def latest(self) -> Mapping[tuple[str, str], Latest]:
        """(site, equipment) -> newest values. The store's own live view: read only."""

    def forget_latest(self, equipment: Iterable[tuple[str, str]]) -> None:
        """Remove these from `latest` until they are received again; the history is unchanged."""

    def clock_was_set(self, now: int) -> None:
        """The clock was set, perhaps back: limit all times in `latest` to `now` (epoch ms)."""

    async def refresh_latest(self) -> set[tuple[str, str]]:
        """Load what other processes have written into `latest`; return whose values. Raises StoreUnavailable."""

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        """The values of a field between `start` and `end`, in at most `points` buckets or the newest `points` changes.

        Buckets of rollups begin at whole minutes, hours or days UTC (the first one at `start`), so there may be fewer
        than `points`; each holds exactly the samples from its `at` to the next one's.
        """

    async def readings(
        self, series: Series, start: int, end: int, after: int = -1, most: int = CHUNK_ROWS
    ) -> list[Reading]:
        """The next stored readings of a range, in order of their time keys; none if there are no more.

        Args:
            series: whose.
            start: epoch ms.
            end: epoch ms.
            after: time key of the last reading of the chunk before; -1 for the first chunk.
            most: limit of readings.

        Raises:
            StoreUnavailable: try again later.
        """

    async def roll_up(self) -> int:
        """Make rollups of a chunk of dirty minutes; return how many. Runs automatically while open."""

    async def rollups_due(self) -> int:
        """Number of dirty minutes of all series, the current minute included."""

    def rollups_refused(self) -> int:
        """Number of rollups that the store rejected since the start; their samples are missing in long ranges."""

    async def erase_before(self, moment: int) -> int:
        """Delete readings measured before `moment`; return how many."""
