"""Each scenario that ships: exactly which alarms and tickets it raises with the shipped rules, and no other.

Where a rule that would see more does not exist yet, the row says what is raised today, and its comment which kind of
rule (issue 6: derived conditions, no data, rate of change, parents, damping) will add or take away what.
"""

import json
from collections import Counter
from typing import NamedTuple

import pytest

from gateway.storage.database import Database
from gateway.storage.tables import activation, ticket
from simulators.faults.scenario import SCENARIOS
from tests.builders.alarms import rows_of
from tests.builders.scenario_play import MORNING, messages, play, raised

REPAIR, EMERGENCY, NO_TICKET = "repair", "emergency", ""
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Expected(NamedTuple):
    """How long is played, at which rate and with which steps of the clock; what must come."""

    seconds: float
    tickets: dict[tuple[str, str], str]
    rate: float = 1.0
    tick_s: float = 1.0
    without: frozenset[str] = frozenset()


SELDOM = frozenset({"elevator.entrapment", "elevator.door_held_open"})
"""What cannot be judged of a lift that is heard every four minutes: a value holds until the next one comes."""
NOBODY_ANSWERS = {("F-1", "fire_panel.check_post"): NO_TICKET, ("F-1", "fire_panel.check_post_missed"): NO_TICKET}
"""The panel calls the post every four hours, and no operator is played."""
LIFTS = ("L-1", "L-2", "L-3")
EVERYTHING = {
    "elevator": LIFTS,
    "pump": ("P-1", "P-2", "P-3", "P-4", "P-5", "P-6"),
    "fire_panel": ("F-1",),
    "patrol_reader": ("R-1",),
    "sensor": ("M-1",),
}
SENSORS_UNDER_THEIR_GATEWAY = {
    ("GW-1", "sensor.gateway_offline"): REPAIR,
    **{(f"S-{number}", "sensor.offline"): NO_TICKET for number in range(1, 5)},
}
ALL_OFFLINE = {(code, f"{kind}.offline"): REPAIR for kind, codes in EVERYTHING.items() for code in codes} | (
    SENSORS_UNDER_THEIR_GATEWAY
)
LIFTS_WITHOUT_MAINS = {(code, "elevator.mains_lost"): REPAIR for code in LIFTS}

SCENARIO_TABLE = {
    "calm": Expected(6 * HOUR, NOBODY_ANSWERS, rate=0.1, tick_s=30),
    # the code at once, the signals after a minute, the button later; all are life safety
    "people_trapped": Expected(
        22 * MINUTE,
        {
            ("L-2", "elevator.entrapment_fault"): EMERGENCY,
            ("L-2", "elevator.entrapment"): EMERGENCY,
            ("L-2", "elevator.fault"): REPAIR,
            ("L-2", "elevator.alarm_button"): EMERGENCY,
        },
    ),
    # occupied, stopped outside the door zone, shut: a combination
    "people_trapped_unreported": Expected(22 * MINUTE, {("L-1", "elevator.entrapment"): EMERGENCY}),
    "door_fault": Expected(10 * MINUTE, {("L-1", "elevator.fault"): REPAIR}),
    "levelling_drift": Expected(
        7 * HOUR, {("L-3", "elevator.levelling"): REPAIR, **NOBODY_ANSWERS}, rate=0.1, tick_s=30
    ),
    "intercom_broken": Expected(
        4 * DAY, {("L-1", "elevator.intercom_failed"): REPAIR, **NOBODY_ANSWERS}, rate=0.004, tick_s=600, without=SELDOM
    ),
    # the standby takes over, so nobody is without water: no pressure alarm
    "dry_run": Expected(5 * MINUTE, {("P-1", "pump.suction_low"): REPAIR, ("P-1", "pump.drive_fault"): REPAIR}),
    "drive_trip": Expected(20 * MINUTE, {("P-1", "pump.drive_fault"): REPAIR}),
    # one header, two transmitters
    "pressure_loss": Expected(
        10 * MINUTE, {("P-1", "pump.pressure_low"): REPAIR, ("P-2", "pump.pressure_low"): REPAIR}
    ),
    # a rate of change, set for this pump, would see the wear days before the limit
    "bearing_wear": Expected(
        7 * DAY,
        {
            ("P-1", "pump.bearing_hot"): REPAIR,
            ("P-1", "pump.vibration_high"): REPAIR,
            ("P-1", "pump.bearing_very_hot"): REPAIR,
            **NOBODY_ANSWERS,
        },
        rate=0.004,
        tick_s=600,
        without=SELDOM,
    ),
    # P-6 reports a sump over its rim as a leak; the limit on its level comes before
    "pump_room_flooding": Expected(
        12 * MINUTE,
        {
            ("P-6", "pump.sump_high_high"): REPAIR,
            ("P-6", "pump.leak"): REPAIR,
            ("S-1", "sensor.leak"): REPAIR,
            ("P-1", "pump.leak"): REPAIR,
            ("P-2", "pump.leak"): REPAIR,
        },
    ),
    # smoke is fire until someone has looked; but no heat alarm
    "cooking_smoke": Expected(8 * MINUTE, {("S-2", "sensor.smoke"): EMERGENCY, ("F-1", "fire_panel.fire"): EMERGENCY}),
    # each point is an alarm and, until points of one building share theirs, an emergency. Recalled lifts and a fire
    # pump that runs are no alarms by themselves.
    "fire_spreads": Expected(
        10 * MINUTE,
        {
            ("S-3", "sensor.smoke"): EMERGENCY,
            ("S-3", "sensor.too_hot"): EMERGENCY,  # of one sensor: it joins
            ("S-3", "sensor.doubtful"): EMERGENCY,
            ("F-1", "fire_panel.fire"): EMERGENCY,
        },
    ),
    "panel_on_battery": Expected(2.5 * HOUR, {("F-1", "fire_panel.mains_lost"): REPAIR}, rate=0.1, tick_s=10),
    "disabled_point": Expected(
        25 * MINUTE, {("F-1", "fire_panel.disabled"): NO_TICKET, ("F-1", "fire_panel.fire"): EMERGENCY}
    ),
    # the pumps are away for 15 s only, and a pump without power is no alarm
    "power_cut_with_backup": Expected(13 * MINUTE, {**LIFTS_WITHOUT_MAINS, ("F-1", "fire_panel.mains_lost"): REPAIR}),
    # One cause, many alarms: what the meter feeds hangs under it and opens no ticket. People in two lifts are told.
    "power_cut": Expected(
        30 * MINUTE,
        {
            ("M-1", "sensor.mains_lost"): REPAIR,
            **dict.fromkeys(LIFTS_WITHOUT_MAINS, NO_TICKET),
            ("F-1", "fire_panel.mains_lost"): NO_TICKET,
            ("L-2", "elevator.alarm_button"): EMERGENCY,
            ("L-2", "elevator.entrapment"): EMERGENCY,
            ("L-3", "elevator.entrapment"): EMERGENCY,
            **{(code, "pump.standby_did_not_start"): NO_TICKET for code in ("P-1", "P-2", "P-3", "P-4")},
        },
        rate=0.5,
    ),
    # the sensors hang under their gateway; the smoke after it is told
    "gateway_lost": Expected(
        40 * MINUTE, {**SENSORS_UNDER_THEIR_GATEWAY, ("S-2", "sensor.smoke"): EMERGENCY}, rate=0.5
    ),
    # L-1 is back within the 30 s that a restart takes, and raises nothing
    "device_silent": Expected(20 * MINUTE, {("F-1", "fire_panel.offline"): REPAIR}, rate=0.5),
    # nothing says that nothing is said, but its silence
    "device_hangs": Expected(30 * MINUTE, {("P-1", "pump.offline"): REPAIR}, rate=0.2),
    # one alarm and one ticket each already now; issue 6 will damp the hundreds of activations into one
    "babbling_device": Expected(90.0, {("S-1", "sensor.leak"): REPAIR, ("F-1", "fire_panel.fault"): REPAIR}),
    # every equipment by itself, but what the gateway carries: the site's line is no equipment of the ledger. The button
    # that was pressed meanwhile is told when the line is back: life safety is never too late.
    "site_link_lost": Expected(
        24 * MINUTE,
        {
            **ALL_OFFLINE,
            ("L-2", "elevator.alarm_button"): EMERGENCY,
            ("L-2", "elevator.entrapment"): EMERGENCY,
        },
        rate=0.5,
    ),
}


def test_every_scenario_that_ships_has_a_row() -> None:
    """The demo's has its own tests: it shows everything at once."""
    assert set(SCENARIO_TABLE) == {path.stem for path in SCENARIOS.glob("*.yaml")} - {"demo"}


@pytest.mark.parametrize("scenario", SCENARIO_TABLE)
async def test_scenario_raises_its_alarms_and_tickets_and_no_other(scenario: str, database: Database) -> None:
    wanted = SCENARIO_TABLE[scenario]
    await play(database, scenario, wanted.seconds, rate=wanted.rate, tick_s=wanted.tick_s, without=wanted.without)
    assert await raised(database) == wanted.tickets


@pytest.mark.parametrize("scenario", [path.stem for path in sorted(SCENARIOS.glob("*.yaml"))])
def test_same_seed_gives_the_same_messages_to_the_byte(scenario: str) -> None:
    def run(seed: int) -> list[tuple[str, bytes, bool]]:
        played = messages(scenario, 200, seed=seed)
        return [(message.topic, message.payload, message.retained) for _, message in played]

    assert run(7) == run(7)
    assert run(7) != run(8)


async def test_a_babbling_device_has_one_ticket_for_all_its_activations(database: Database) -> None:
    await play(database, "babbling_device", 80)
    activations = Counter(row["equipment"] for row in await rows_of(database, activation))
    tickets = Counter(row["equipment"] for row in await rows_of(database, ticket))
    assert min(activations["S-1"], activations["F-1"]) > 20
    assert tickets == {"S-1": 1, "F-1": 1}


def fires(scenario: str, seconds: float) -> list[tuple[float, str, str]]:
    """(second, zone, device) of each fire event."""
    found = []
    for second, message in messages(scenario, seconds):
        if message.topic.endswith("/event"):
            fields = json.loads(message.payload)
            if fields.get("type") == "fire":
                found.append((round(second), fields["zone"], fields["device_type"]))
    return found


def test_a_fire_spreads_from_floor_to_floor_with_each_event_at_its_second() -> None:
    assert fires("fire_spreads", 600) == [
        (75, "5F", "smoke"),
        (100, "5F", "smoke"),
        (135, "5F", "call_point"),
        (150, "5F", "heat"),
        (185, "5F", "flow_switch"),
        (225, "6F", "smoke"),
        (265, "6F", "smoke"),
        (335, "7F", "smoke"),
    ]


def test_a_disabled_point_sees_no_fire_but_its_neighbour_does() -> None:
    """The alarm is that of the second detector, twelve seconds after the first would have told."""
    assert fires("disabled_point", 900) == [(612, "4F", "smoke")]


def test_what_was_measured_while_the_line_was_down_comes_in_arrays_with_its_own_times() -> None:
    back_s, down_s = 60 + 20 * MINUTE, 60.0
    sent = [(second, m) for second, m in messages("site_link_lost", 1_400) if "/L-2/telemetry" in m.topic]
    assert not [second for second, _ in sent if down_s <= second < back_s]
    arrays = [json.loads(message.payload) for second, message in sent if second == back_s]
    kept = [sample for array in arrays if isinstance(array, list) for sample in array]
    assert max(len(array) for array in arrays if isinstance(array, list)) == 25
    times = [(sample["at"] - MORNING) / 1000 for sample in kept]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (pytest.approx(down_s, abs=1), pytest.approx(back_s, abs=1.1))
    assert any(sample["alarm_button"] for sample in kept)
