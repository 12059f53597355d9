"""The options of the command line: which estate, which scenario, over which lines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from collectors.wire.reading import to_milliseconds
from simulators.estate import Estate, load_estate
from simulators.faults.scenario import Scenario, load_scenario
from simulators.large_estate import large_estate
from simulators.lines import MOST_OWN, Lines, OwnLines, SharedLine
from simulators.publisher import BrokerAddress, Publisher
from simulators.run import Pace, simulate

_IN_FLIGHT: Final = 1_000
"""Unacknowledged messages on a connection that a whole estate shares."""


class Connections(StrEnum):
    """How simulated devices reach the broker; see `lines.py`."""

    AUTO = "auto"
    EACH = "each"
    SHARED = "shared"


class OrderError(ValueError):
    """The options contradict each other."""


class Wish(msgspec.Struct, frozen=True):
    """Names or paths, "" for the default; `equipment` generates an estate of that size instead."""

    estate: str = ""
    scenario: str = ""
    equipment: int = 0
    seed: int = 1
    connections: Connections = Connections.AUTO

    def load(self) -> tuple[Estate, Scenario]:
        """Read both.

        Raises:
            OrderError: both an estate and a size are given.
            YamlFileError: one of the files cannot be used.
        """
        if self.estate and self.equipment:
            raise OrderError("--estate and --equipment exclude each other: a file has its own equipment")
        scenario = load_scenario(self.scenario or ("calm" if self.equipment else "demo"))
        if self.equipment:
            return large_estate(self.equipment, self.seed), scenario
        return load_estate(self.estate or scenario.estate), scenario

    def has_own_lines(self, estate: Estate) -> bool:
        """Whether each equipment gets a connection of its own."""
        if self.connections is Connections.AUTO:
            return len(estate.equipment) <= MOST_OWN
        return self.connections is Connections.EACH


def read_start(text: str) -> int | None:
    """Epoch milliseconds of an RFC 3339 time, None for "".

    Raises:
        OrderError: an invalid time, or one without a zone.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise OrderError(f"--start {text}: write a time with its zone, as in 2026-11-22T07:30:00+08:00")
    return to_milliseconds(moment)


async def simulate_wish(wish: Wish, address: BrokerAddress, pace: Pace, stop: asyncio.Event) -> None:
    """Simulate with these options until `stop` is set.

    Raises:
        OrderError: the options contradict each other.
        YamlFileError: a file cannot be used, or the scenario does not fit the estate.
        PublisherError: the broker cannot be used.
    """
    estate, scenario = wish.load()
    async with _lines(wish, address, estate) as lines:
        await simulate(estate, scenario, lines, seed=wish.seed, pace=pace, stop=stop)


@contextlib.asynccontextmanager
async def _lines(wish: Wish, address: BrokerAddress, estate: Estate) -> AsyncIterator[Lines]:
    if wish.has_own_lines(estate):
        async with OwnLines(address, estate) as own:
            yield own
    else:
        async with Publisher(address, in_flight=_IN_FLIGHT) as publisher:
            yield SharedLine(publisher)
