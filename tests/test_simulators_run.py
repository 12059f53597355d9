"""The simulation: rhythm without drift, the same run for the same seed, announcements at both ends."""

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulators.estate import Estate, load_estate
from simulators.run import simulate
from simulators.scenario import Scenario, load_scenario
from simulators.simulation import Simulation
from simulators.yaml_files import YamlFileError

START_MS = 1_763_800_000_000
Message = tuple[str, bytes, bool]


class Ledger:
    """An outlet that remembers; with `stuck` it takes nothing, like a broker that is gone."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.messages: list[Message] = []
        self._stuck = stuck

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._stuck:
            await asyncio.Event().wait()
        self.messages.append((topic, payload, retain))

    async def flush(self) -> None:
        return


def play(seconds: float, *, seed: int = 1, rate: float = 1.0) -> list[Message]:
    simulation = Simulation(load_estate(), load_scenario(), seed=seed, rate=rate)
    messages: list[Message] = []
    while simulation.due_s < seconds:
        due_s = simulation.due_s
        messages.extend(simulation.due_messages(due_s, START_MS + round(due_s * 1000)))
    return messages


def of(messages: list[Message], ending: str) -> list[dict[str, Any]]:
    return [json.loads(payload) for topic, payload, _ in messages if topic.endswith(ending)]


def test_same_seed_same_run_to_the_byte() -> None:
    assert play(300, seed=3) == play(300, seed=3)
    assert play(300, seed=3) != play(300, seed=4)


def test_each_equipment_reports_in_its_own_rhythm_for_hours() -> None:
    times = [message["at"] for message in of(play(7200), "pump/P-3/telemetry")]
    assert {b - a for a, b in pairwise(times)} == {2000}
    assert len(times) == 3600


def test_rate_2_reports_twice_as_often_with_faults_at_their_times() -> None:
    once, twice = (Counter(topic for topic, _, _ in play(240, rate=rate)) for rate in (1.0, 2.0))
    assert twice["gengfu/demo/pump/P-1/telemetry"] == 2 * once["gengfu/demo/pump/P-1/telemetry"]
    assert twice["gengfu/demo/fire_panel/F-1/event"] == once["gengfu/demo/fire_panel/F-1/event"] == 3


def test_samples_are_numbered_and_only_a_status_is_retained() -> None:
    messages = play(300)
    numbers = [json.loads(payload)["seq"] for topic, payload, _ in messages if "/F-1/" in topic]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {topic.rsplit("/", 1)[1] for topic, _, retained in messages if retained} == {"status"}


def test_missed_periods_are_skipped_but_no_event_is() -> None:
    """A broker that took nothing for 200 s gets the newest telemetry and all events when it is back."""
    simulation = Simulation(load_estate(), load_scenario(), seed=1)
    messages = list(simulation.due_messages(0.0, START_MS))
    messages += simulation.due_messages(200.0, START_MS + 200_000)
    panel = of(messages, "fire_panel/F-1/telemetry")
    assert len(panel) <= 2
    assert 198_000 < panel[-1]["at"] - START_MS <= 200_000
    assert len(of(messages, "fire_panel/F-1/event")) == 3


async def run_for(seconds: float, outlet: Ledger, **options: Any) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await asyncio.wait_for(
        simulate(load_estate(), load_scenario(), outlet, seed=1, clock=lambda: START_MS, stop=stop, **options),
        10,
    )


async def test_simulation_says_who_is_online_at_both_ends() -> None:
    outlet = Ledger()
    await run_for(0.3, outlet)
    count = len(load_estate().equipment)
    first, last = outlet.messages[:count], outlet.messages[-count:]
    assert all(json.loads(payload)["online"] is True and retained for _, payload, retained in first)
    assert all(json.loads(payload)["online"] is False and retained for _, payload, retained in last)
    assert len({topic for topic, _, _ in first}) == count
    assert any(topic.endswith("telemetry") for topic, _, _ in outlet.messages)


async def test_announcing_can_be_left_out() -> None:
    outlet = Ledger()
    await run_for(0.3, outlet, announce=False)
    assert not any(topic.endswith("status") for topic, _, _ in outlet.messages)


async def test_simulation_stops_although_the_broker_takes_nothing() -> None:
    await run_for(0.1, Ledger(stuck=True), announce=False)


async def test_error_of_the_outlet_ends_the_simulation() -> None:
    class Broken(Ledger):
        async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await run_for(5, Broken(), announce=False)


async def test_scenario_for_another_estate_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    estate: Estate = load_estate()
    path = tmp_path / "other.yaml"
    path.write_text("timeline: [{at: 1s, equipment: X-1, fault: water_leak, for: 1s}]", "utf-8")
    scenario: Scenario = load_scenario(path)
    outlet = Ledger()
    with pytest.raises(YamlFileError, match="unknown equipment 'X-1'"):
        await simulate(estate, scenario, outlet, seed=1, clock=lambda: START_MS, stop=asyncio.Event())
    assert outlet.messages == []
