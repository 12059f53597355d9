"""Passes over the dirty minutes of InfluxDB: a failure of one equipment is postponed and delays no other."""

import time
from typing import Final

import msgspec
import structlog

from collectors.timeseries.influx.answers import StatementFailed
from collectors.timeseries.influx.dirty_minutes import DirtyMinutes, Mark
from collectors.timeseries.influx.http import InfluxHttp
from collectors.timeseries.influx.influxql import KEYS_PER_MS
from collectors.timeseries.influx.line_protocol import RECEIVED
from collectors.timeseries.influx.rollups import Outcome, sum_up
from collectors.timeseries.rollups import DAY
from collectors.timeseries.store import Series, StoreUnavailable
from collectors.wire.fields import Kind

log = structlog.get_logger(__name__)

_CHUNK_MINUTES: Final = 3_000
"""Minutes at a time."""
_PUT_OFF_S: Final = 3600.0
_FAILURES_OF_A_SERVER: Final = 3
"""Consecutive failures of days of equipment, with no success before: the server fails for all of them."""
Day = tuple[Series, int]
"""A series, and a day counted from 1970."""


class _Pass(msgspec.Struct):
    """The outcome of a pass."""

    done: list[Mark] = []
    failures: int = 0


class Passes:
    """Makes rollups, a chunk of minutes at a time."""

    def __init__(self, dirty: DirtyMinutes) -> None:
        self.refused = 0
        """Rollups that the bucket rejected; dropped."""
        self._dirty = dirty
        self._put_off: dict[Day, float] = {}
        """Until when (monotonic seconds) a day is postponed."""

    async def roll_up(self, server: InfluxHttp, now: int, oldest: int) -> int:
        """Aggregate a chunk of minutes, or check them again; return how many. Minutes being written to are skipped.

        Args:
            server: where samples and rollups are.
            now: epoch ms.
            oldest: epoch ms; the bucket rejects everything before it.

        Raises:
            StoreUnavailable: try again later.
        """
        if self._dirty.lost_marks:  # older minutes were most likely aggregated before
            await self._dirty.mark(await marks_since(server, now - DAY))
            self._dirty.lost_marks = False
        busy = self._dirty.settle()
        self._put_off = {day: until for day, until in self._put_off.items() if until > time.monotonic()}
        most = _CHUNK_MINUTES + len(self._put_off) * DAY // 60_000
        marks = [
            mark for mark in await self._dirty.some(most, now) if mark not in busy and _day(mark) not in self._put_off
        ]
        one_pass = _Pass()
        try:
            await self._sum_up(server, marks[:_CHUNK_MINUTES], oldest, one_pass)
        finally:
            await self._dirty.clear(one_pass.done)
        return len(marks[:_CHUNK_MINUTES])

    async def _sum_up(self, server: InfluxHttp, marks: list[Mark], oldest: int, one_pass: _Pass) -> None:
        """Aggregate all at once; halve them if that fails because of some of them."""
        try:
            outcome = await sum_up(server, marks, oldest)
        except StatementFailed as error:
            why = str(error)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the data of one equipment must not stop the others' rollups
            why = f"{type(error).__name__}: {error}"
        else:
            self._note(outcome)
            one_pass.done += [mark for mark in marks if _day(mark) not in outcome.written]
            return
        days = list(dict.fromkeys(map(_day, marks)))
        if len(days) > 1:
            first = set(days[: len(days) // 2])
            await self._sum_up(server, [mark for mark in marks if _day(mark) in first], oldest, one_pass)
            await self._sum_up(server, [mark for mark in marks if _day(mark) not in first], oldest, one_pass)
            return
        one_pass.failures += 1
        if not one_pass.done and one_pass.failures >= _FAILURES_OF_A_SERVER:
            raise StoreUnavailable(why)
        self._put_off[days[0]] = time.monotonic() + _PUT_OFF_S
        log.error("rollups of a day of one equipment fail; trying again in an hour", series=days[0][0], why=why)

    def _note(self, outcome: Outcome) -> None:
        if outcome.refused:
            self.refused += len(outcome.refused)
            log.warning("the bucket rejects some rollups; they are dropped", rollups=len(outcome.refused),
                        first=outcome.refused[0])  # fmt: skip


async def marks_since(server: InfluxHttp, moment: int) -> set[Mark]:
    """The minutes since a moment (epoch ms) that have samples. Raises StoreUnavailable."""
    kinds = [kind.value for kind in Kind]
    group = "GROUP BY time(1m), site, equipment, channel fill(none)"
    answers = await server.ask(
        *(f'SELECT count("{RECEIVED}") FROM "{kind}" WHERE time >= {moment * KEYS_PER_MS} {group}' for kind in kinds)
    )
    return {
        Mark(Series(found.tags["site"], kind, found.tags["equipment"], found.tags["channel"]), row[0] // KEYS_PER_MS)
        for kind, results in zip(kinds, answers, strict=True)
        for found in results
        for row in found.values
    }


def _day(mark: Mark) -> Day:
    return mark.series, mark.minute // DAY
