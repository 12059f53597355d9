"""Sends recorded data through the broker as reports of equipment.

mapping = load_mapping("skab")
async with Publisher(BrokerAddress(host, port)) as publisher:
    summary = await replay_file(path, mapping, publisher, speed=60, keep_times=False, clock=epoch_ms)
print(summary.rows, summary.sent, summary.cells_left_out, summary.seconds)
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from collectors.wire.fields import Channel
from simulators.outlet import Outlet
from simulators.replays.csv_rows import Row, count_rows, read_rows
from simulators.replays.interval_rows import in_order_of_time
from simulators.replays.mapping import Mapping
from simulators.samples import encode_sample

_PROBLEMS_KEPT: Final = 20


class Summary(msgspec.Struct):
    """The result of a replay. `problems` describes the first twenty of the cells left out.

    The end of an interval counts as a row of its own.
    """

    rows: int = 0
    sent: int = 0
    cells_left_out: int = 0
    seconds: float = 0.0
    problems: list[str] = []


async def replay(
    rows: Iterable[Row],
    mapping: Mapping,
    publisher: Outlet,
    *,
    speed: float,
    keep_times: bool,
    clock: Callable[[], int],
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Send the rows and wait for the last acknowledgement.

    `speed` is seconds of data per second; 0 is as fast as the broker acknowledges.

    Without `keep_times` each row's `at` is the moment it is sent (`clock`, epoch milliseconds): delays of
    rules then act in real time, whatever the speed. At speed 60 a delay of 5 s covers 300 s of data; at
    speed 0 it may cover the whole file. With `keep_times` the data's own times are sent, and a row whose
    time cannot be read is left out.

    `seq` counts the rows, so that rows of one millisecond stay apart. `progress` gets the rows so far.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    pace = _Pace(speed)
    summary = Summary()
    for row in rows:
        _count(summary, row)
        await asyncio.sleep(max(0.0, start + pace.due_s(row.at_ms) - loop.time()))
        at_ms = row.at_ms if keep_times else clock()
        if at_ms is not None and row.equipment:
            summary.sent += await _send(row, at_ms, summary.rows, mapping, publisher)
        if progress:
            progress(summary.rows)
    await publisher.flush()
    summary.seconds = loop.time() - start
    return summary


async def _send(row: Row, at_ms: int, seq: int, mapping: Mapping, publisher: Outlet) -> bool:
    """Send the values of a row; return whether it has any."""
    if row.status:
        topic = mapping.topic(row.equipment, Channel.STATUS)
        await publisher.publish(topic, encode_sample(row.status, at_ms, seq), retain=True)
    if row.fields:
        await publisher.publish(mapping.topic(row.equipment), encode_sample(row.fields, at_ms, seq))
    return bool(row.status or row.fields)


async def replay_file(
    path: Path,
    mapping: Mapping,
    publisher: Outlet,
    *,
    speed: float,
    keep_times: bool,
    clock: Callable[[], int],
    console: Console | None = None,
) -> Summary:
    """Replay a CSV file with a progress bar on standard error (or the given console).

    Raises:
        CsvError: the file cannot be read, or the mapping does not fit it.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task(f"{path.name} -> {_target(mapping)}", total=count_rows(path) * (2 if mapping.until else 1))
        return await replay(
            in_order_of_time(read_rows(path, mapping)),
            mapping,
            publisher,
            speed=speed,
            keep_times=keep_times,
            clock=clock,
            progress=lambda rows: bar.update(task, completed=rows),
        )


def _target(mapping: Mapping) -> str:
    named = mapping.equipment
    return mapping.topic(named) if isinstance(named, str) else f"{mapping.kind} by column '{named.column}'"


class _Pace:
    """The due time of a row, in seconds since the start; a row without a time follows the one before it."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first_ms: int | None = None
        self._last_s = 0.0

    def due_s(self, at_ms: int | None) -> float:
        if at_ms is None or not self._speed:
            return self._last_s
        if self._first_ms is None:
            self._first_ms = at_ms
        self._last_s = (at_ms - self._first_ms) / 1000 / self._speed
        return self._last_s


def _count(summary: Summary, row: Row) -> None:
    summary.rows += 1
    summary.cells_left_out += len(row.problems)
    room = _PROBLEMS_KEPT - len(summary.problems)
    summary.problems.extend(row.problems[:room])
