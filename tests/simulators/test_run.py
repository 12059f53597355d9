"""The simulation: rhythm without drift, the same run for the same seed, announcements at both ends."""

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from collectors.payloads.native import decode
from collectors.wire.topics import parse_topic
from simulators.estate import Estate, load_estate
from simulators.faults.scenario import Scenario, load_scenario
from simulators.large_estate import large_estate
from simulators.run import Pace, simulate
from simulators.simulation import Message, Simulation
from simulators.yaml_input.files import YamlFileError

START_MS = 1_763_800_000_000
PACE = Pace(clock=lambda: START_MS)
Sent = tuple[str, bytes, bool]


class Ledger:
    """Lines that remember; with `stuck` they take nothing, like a broker that is gone."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.messages: list[Sent] = []
        self._stuck = stuck

    async def send(self, message: Message) -> None:
        if self._stuck:
            await asyncio.Event().wait()
        self.messages.append((message.topic, message.payload, message.retained))


def stamp(moment_s: float) -> int:
    return START_MS + round(moment_s * 1000)


def due(simulation: Simulation, elapsed_s: float) -> list[Sent]:
    return [(m.topic, m.payload, m.retained) for m in simulation.due_messages(elapsed_s, stamp)]


def play(seconds: float, *, seed: int = 1, rate: float = 1.0, speed: float = 1.0) -> list[Sent]:
    estate, scenario = load_estate(), load_scenario()
    simulation = Simulation(estate, scenario, seed=seed, start_ms=START_MS, rate=rate, speed=speed)
    messages: list[Sent] = []
    while simulation.due_s < seconds:
        messages += due(simulation, simulation.due_s)
    return messages


def of(messages: list[Sent], ending: str) -> list[dict[str, Any]]:
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
    assert twice["gengfu/demo/pump/P-3/telemetry"] == 2 * once["gengfu/demo/pump/P-3/telemetry"]
    assert twice["gengfu/demo/fire_panel/F-1/event"] == once["gengfu/demo/fire_panel/F-1/event"] == 3


def test_samples_are_numbered_and_only_a_status_is_retained() -> None:
    messages = play(300)
    numbers = [json.loads(payload)["seq"] for topic, payload, _ in messages if "/F-1/" in topic]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {topic.rsplit("/", 1)[1] for topic, _, retained in messages if retained} == {"status"}


def test_missed_periods_are_skipped_but_no_event_is() -> None:
    """A broker that took nothing for 200 s gets the newest telemetry and all events when it is back."""
    simulation = Simulation(load_estate(), load_scenario(), seed=1, start_ms=START_MS)
    messages = due(simulation, 0.0) + due(simulation, 200.0)
    panel = of(messages, "fire_panel/F-1/telemetry")
    assert len(panel) < 15  # of a hundred: at each moment at which a fault changes something, and once between two
    assert 198_000 < panel[-1]["at"] - START_MS <= 200_000
    assert len(of(messages, "fire_panel/F-1/event")) == 3


async def run_for(seconds: float, outlet: Ledger, **options: Any) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await asyncio.wait_for(
        simulate(load_estate(), load_scenario(), outlet, seed=1, pace=PACE, stop=stop, **options),
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
        async def send(self, message: Message) -> None:
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
        await simulate(estate, scenario, outlet, seed=1, pace=PACE, stop=asyncio.Event())
    assert outlet.messages == []


def test_a_clock_that_runs_faster_sends_as_much_a_second_and_reaches_the_faults_sooner() -> None:
    """At speed 10 a second of ours is ten of theirs: the hour of six minutes brings all events, not more telemetry."""
    slow, fast = Counter(t for t, _, _ in play(360)), Counter(t for t, _, _ in play(3600, speed=10))
    assert fast["gengfu/demo/pump/P-3/telemetry"] == slow["gengfu/demo/pump/P-3/telemetry"] == 180
    assert fast["gengfu/demo/fire_panel/F-1/event"] == 6
    assert slow["gengfu/demo/fire_panel/F-1/event"] == 3


def test_times_are_those_of_sending_unless_they_are_to_be_kept() -> None:
    sending = Pace(clock=lambda: 5_000, speed=10).stamping(START_MS, elapsed_s=100)
    assert (sending(100), sending(90)) == (5_000, 4_000)
    kept = Pace(clock=lambda: 5_000, speed=10, keep_times=True).stamping(START_MS, elapsed_s=100)
    assert (kept(100), kept(90)) == (START_MS + 100_000, START_MS + 90_000)


def test_a_large_estate_is_made_of_every_kind_the_same_for_the_same_seed() -> None:
    estate = large_estate(1_000, seed=1)
    assert estate == large_estate(1_000, seed=1) != large_estate(1_000, seed=2)
    codes = [item.code for item in estate.equipment]
    assert len(codes) == len(set(codes)) == 1_000
    assert set(Counter(item.kind for item in estate.equipment)) == {
        "elevator", "pump", "fire_panel", "patrol_reader", "sensor",
    }  # fmt: skip


def test_a_large_estate_in_calm_reports_without_a_word_that_no_decoder_knows() -> None:
    estate = large_estate(300, seed=1)
    simulation = Simulation(estate, load_scenario("calm"), seed=1, start_ms=START_MS)
    sent: list[Sent] = []
    while simulation.due_s < 120:
        sent += due(simulation, simulation.due_s)
    heard = set()
    for topic, payload, _ in sent:
        decoded = decode(parse_topic(topic), payload, START_MS + 120_000)
        assert decoded.faults == []
        heard.add(topic.split("/")[3])
    silent = {item.code for item in estate.equipment} - heard
    assert all(code.startswith("R-") for code in silent)  # readers speak when a tag is tapped
