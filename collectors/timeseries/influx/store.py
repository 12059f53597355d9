"""Readings in InfluxDB: 1.8, 2 or 3, by line protocol and InfluxQL (tests: Debian's 1.6, one address rewritten).

The service makes the rollups itself: continuous queries and tasks of the server miss late data, and aggregating a
year's three million samples for each request takes a second. So each minute that was written to is marked in a small
local file before its readings are sent, and aggregated in the background. The histories of this process are always
exact for its own writes. Of the writes of another process the last two minutes are visible at once, and late data when
that process has aggregated it (seconds); rollups of one minute by two processes converge (rollups.py).
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

import structlog

from collectors.timeseries.influx import history as influx_history
from collectors.timeseries.influx import rollups as influx_rollups
from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.answers import TOO_LARGE, Unacceptable
from collectors.timeseries.influx.chunks import chunks
from collectors.timeseries.influx.dirty_minutes import DirtyMinutes, Mark
from collectors.timeseries.influx.history import EMPTY, LAST_MS
from collectors.timeseries.influx.http import InfluxHttp
from collectors.timeseries.influx.influxql import KEYS_PER_MS, as_sent
from collectors.timeseries.influx.line_protocol import OWN_FIELDS, QUALITY, RECEIVED, encode, wire_name
from collectors.timeseries.influx.passes import Passes
from collectors.timeseries.influx.refusals import judge
from collectors.timeseries.latest import LatestTable, Who
from collectors.timeseries.rollups import DAY, MINUTE, minute_of
from collectors.timeseries.store import (
    CHUNK_ROWS,
    DEFAULT_POINTS,
    History,
    Latest,
    LatestValue,
    Refused,
    Series,
    StoreUnavailable,
)
from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading, Value

log = structlog.get_logger(__name__)

_ROLL_UP_EVERY_S: Final = 2.0
_BREATH_S: Final = 0.1
_PREPARED_WITHIN_S: Final = 2.0
_REST_S: Final = 30.0
"""After a pass that failed: the server may still complete the request that timed out, and the next pass must see it."""
_RECENT: Final = 2 * MINUTE
"""Always read from samples: rollups are made when a minute is over."""
_MARGIN_MS: Final = MINUTE
"""The server's clock may be ahead of ours, and a request may take some seconds."""
_LEARN_EVERY_S: Final = 3600.0
"""The retention of the bucket may be changed."""
_NEVER_TOO_LARGE: Final = 1024
"""Bytes. No server has so low a limit; if a single shorter line is rejected, no line can pass."""
_key_of: Final = attrgetter("key")


class InfluxStore:
    """One bucket of an InfluxDB. Writing is idempotent: the same series and time key is the same point."""

    def __init__(self, access: Access, marks: Path, retention_days: int | None = None) -> None:
        """Describe the store; `open` connects.

        Args:
            access: server, bucket, credentials.
            marks: file of the marks of minutes without rollups.
            retention_days: retention of the bucket if it is created here.
        """
        self._access = access
        self._retention_days = retention_days
        self._dirty = DirtyMinutes(marks)
        self._passes = Passes(self._dirty)
        self._latest = LatestTable()
        self._is_prepared = False
        self._learned_at = 0.0
        self._rolling = asyncio.Lock()
        self._rest_until = 0.0
        self._http: InfluxHttp | None = None
        self._background: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._dirty.open()
        self._http = InfluxHttp(self._access)
        # Alarms do not wait for history: the background task tries again.
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_PREPARED_WITHIN_S):
                await self._prepare()
        self._background = asyncio.create_task(self._keep_rolling_up(), name="influx.rollups")

    async def close(self) -> None:
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
            self._background = None
        if self._http is not None:
            await self._http.close()
            self._http = None
        await self._dirty.close()

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        self._latest.absorb(readings)
        readings, refused = self._without_expired(readings)
        marks = {Mark(series_of(reading), minute_of(reading.key)) for reading in readings}
        await self._dirty.mark(marks)
        for chunk in chunks(readings, _key_of):
            refused += await self._send(chunk)
        await self._dirty.mark(marks)  # a rollup that was made meanwhile may have missed some
        return refused

    def update_latest(self, readings: Sequence[Reading]) -> None:
        self._latest.absorb(readings)

    def note_received(self, equipment: Who, kind: str, received_at: int) -> None:
        self._latest.note_received(equipment, kind, received_at)

    def latest(self) -> LatestTable:
        return self._latest

    def forget_latest(self, equipment: Iterable[Who]) -> None:
        self._latest.forget(equipment)

    def clock_was_set(self, now: int) -> None:
        self._latest.not_after(now)

    async def refresh_latest(self) -> set[Who]:
        before = {who: latest.heard_at for who, latest in self._latest.items()}
        await self._restore_latest()
        return {who for who, latest in self._latest.items() if latest.heard_at != before.get(who)}

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        start, end = max(start, 0), min(end, LAST_MS)
        if end <= start:
            return EMPTY
        dirty = [*await self._dirty.of(series, start, end), *_recent_minutes(time.time_ns(), start, end)]
        whole_from = (
            -(-self._oldest_kept() // DAY) * DAY
        )  # the bucket rejects the rollups of the day in which its retention ends
        return await influx_history.read(self._server(), dirty, series, field, start, end, points, whole_from)

    async def readings(
        self, series: Series, start: int, end: int, after: int = -1, most: int = CHUNK_ROWS
    ) -> list[Reading]:
        return await influx_history.readings(self._server(), series, max(start, 0), end, after, most)

    async def erase_before(self, moment: int) -> int:
        async with self._rolling:  # or a pass would put down again what it had read before
            return await influx_rollups.erase_before(self._server(), self._dirty, moment)

    async def roll_up(self) -> int:
        """Make rollups of a chunk of dirty minutes that are over; return how many minutes."""
        async with self._rolling:  # one pass at a time: each begins by forgetting what was written before it
            if time.monotonic() < self._rest_until:
                return 0
            try:
                return await self._passes.roll_up(self._server(), time.time_ns() // KEYS_PER_MS, self._oldest_kept())
            except StoreUnavailable:
                self._rest_until = time.monotonic() + _REST_S
                raise

    def rollups_refused(self) -> int:
        return self._passes.refused

    async def rollups_due(self) -> int:
        return await self._dirty.number()

    def _server(self) -> InfluxHttp:
        if self._http is None:
            raise StoreUnavailable("the store is not open")
        return self._http

    # -- writing ---------------------------------------------------------------------------------------

    async def _send(self, readings: Sequence[Reading]) -> list[Refused]:
        """Send readings; if the server rejects some, send the others again."""
        lines = [encode(reading) for reading in readings]
        try:
            await self._server().write(lines)
        except Unacceptable as fault:
            if fault.status == TOO_LARGE and len(lines) == 1 and len(lines[0]) < _NEVER_TOO_LARGE:
                raise StoreUnavailable(
                    f"InfluxDB, or a proxy in front of it, rejects even a single line: {fault}"
                ) from fault
            refused, again = judge(readings, fault)
            for chunk in again:
                refused += await self._send(chunk)
            return refused
        return []

    def _oldest_kept(self) -> int:
        """The bucket may reject everything before this moment (epoch ms); 0 if it keeps all."""
        kept_s = None if self._http is None else self._http.bucket.kept_s
        return 0 if kept_s is None else time.time_ns() // KEYS_PER_MS - kept_s * 1000 + _MARGIN_MS

    def _without_expired(self, readings: Sequence[Reading]) -> tuple[Sequence[Reading], list[Refused]]:
        """Drop readings beyond the retention: the response would not show which lines were stored."""
        oldest = self._oldest_kept() * KEYS_PER_MS
        if not oldest or all(reading.key >= oldest for reading in readings):
            return readings, []
        why = "older than what the bucket keeps"
        refused = [Refused(reading, why) for reading in readings if reading.key < oldest]
        return [reading for reading in readings if reading.key >= oldest], refused

    # -- newest values ---------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        if not self._is_prepared:
            await self._server().bucket.make(self._retention_days)
            await self._restore_latest()
            self._is_prepared = True
            self._learned_at = time.monotonic()
        elif time.monotonic() - self._learned_at > _LEARN_EVERY_S:
            self._learned_at = time.monotonic()
            await self._server().bucket.learn()

    async def _restore_latest(self) -> None:
        """Query the last value of every field: of samples with reliable clocks, and of those without."""
        wrong = Quality.FUTURE | Quality.CLOCK_WRONG
        asked = [(kind, name) for kind, names in (await self._known_fields()).items() for name in sorted(names)]
        statements = [
            f'SELECT last("{name}"), "{RECEIVED}" FROM "{kind}" WHERE "{QUALITY}" & {wrong:d} {test} 0'
            " GROUP BY site, equipment"
            for kind, name in asked
            for test in ("=", ">")
        ]
        found: dict[Who, Latest] = {}
        for index, results in enumerate(await self._server().ask(*statements)):
            name, is_wrong = wire_name(asked[index // 2][1]), bool(index % 2)
            for result in results:
                who = (result.tags["site"], result.tags["equipment"])
                latest = found.setdefault(who, Latest(result.name, 0, {}))
                for at, value, received_at in result.values:
                    _take(latest, name, as_sent(value), received_at if is_wrong else at // KEYS_PER_MS, received_at)
        for who, latest in found.items():
            known = self._latest.get(who)  # readings may have arrived before the server could be queried
            if known is not None:
                for name, value in known.fields.items():
                    _take(latest, name, *value, known.heard_at)
            self._latest.put(who, latest)

    async def _known_fields(self) -> dict[str, set[str]]:
        (results,) = await self._server().ask("SHOW FIELD KEYS")
        kinds = {kind.value for kind in Kind}
        return {
            result.name: {row[0] for row in result.values} - OWN_FIELDS for result in results if result.name in kinds
        }

    # -- rollups ---------------------------------------------------------------------------------------

    async def _keep_rolling_up(self) -> None:
        trouble = ""
        while True:
            await asyncio.sleep(_ROLL_UP_EVERY_S)
            try:
                await self._prepare()
                while await self.roll_up():  # noqa: ASYNC110 - a backlog leaves the server time for other queries
                    await asyncio.sleep(_BREATH_S)
            except Exception as error:  # noqa: BLE001 - rollups are retried after any error
                if repr(error) != trouble:
                    log.warning("rollups and newest values are delayed: the server fails", why=repr(error))
                trouble = repr(error)
            else:
                trouble = ""


def series_of(reading: Reading) -> Series:
    """The series of a reading."""
    topic = reading.topic
    return Series(topic.site, topic.kind.value, topic.equipment, topic.channel.value)


def _recent_minutes(now: int, start: int, end: int) -> range:
    """The minutes of a range up to now (a time key) that may have no rollup yet."""
    last = minute_of(now)
    return range(max(last - _RECENT, start // MINUTE * MINUTE), min(last + MINUTE, end), MINUTE)


def _take(latest: Latest, name: str, value: Value, at: int, received_at: int) -> None:
    latest.heard_at = max(latest.heard_at, received_at)
    before = latest.fields.get(name)
    if before is None or before.at <= at:
        latest.fields[name] = LatestValue(value, at)
