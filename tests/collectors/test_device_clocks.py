"""One rule for the current value and its freshness, and for clocks that cannot be believed."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.device_clocks import BEHIND_MS, SURE_AFTER_MS, DeviceClocks, Doubt
from collectors.payloads.native import decode
from collectors.timeseries.latest import LatestTable
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import parse_topic
from gateway.alarms.built_in.doubtful_clocks import clock_event, still_doubtful
from gateway.alarms.evaluation.retained_messages import NOTE
from gateway.alarms.rules.files import load_rules
from gateway.alarms.rules.rule import RuleType
from gateway.storage.database import Database
from gateway.storage.tables import alarm, journal
from tests.builders.alarms import (
    PANEL,
    SMOKE,
    T0,
    Clock,
    Desk,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    rows_of,
    sample,
    smoke_rule,
)
from tests.gateway.alarms.evaluation.test_evaluator import make_watches

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
WHO: Final = ("HQ", "S-1")


class Line:
    """From the wire to the tile: what a tile shows, and what the platform says of the clock."""

    def __init__(self) -> None:
        self.clocks = DeviceClocks(clock_event)
        self.table = LatestTable()
        self.said: list[str] = []

    def hear(self, received_at: int, at: int | None, **fields: Value) -> Reading:
        reading = sample(SMOKE, fields, received_at if at is None else at, received_at)
        reading.quality = int(
            Quality.NO_TIME if at is None else Quality.FUTURE if at > received_at + BEHIND_MS else Quality.GOOD
        )
        self.said += [str(event.fields["text"]) for event in self.clocks.note([reading])]
        self.table.absorb([reading])
        return reading

    def shown(self, name: str = "temperature") -> Value:
        return self.table[WHO].fields[name].value


def test_a_clock_set_back_an_hour_freezes_no_value_as_fresh() -> None:
    line = Line()
    line.hear(T0, T0, temperature=96.0)
    for second in range(10, 60, 10):
        line.hear(T0 + second * SECOND, T0 - HOUR + second * SECOND, temperature=20.0)
        assert line.table[WHO].heard_at == T0, "while the old value is shown nothing makes it fresher"
    line.hear(T0 + 70 * SECOND, T0 - HOUR + 70 * SECOND, temperature=21.0)
    assert (line.shown(), line.table[WHO].heard_at) == (21.0, T0 + 70 * SECOND)
    assert line.table[WHO].clock is Doubt.BEHIND
    assert line.said == ["60 min behind"]
    line.hear(T0 + 80 * SECOND, T0 + 80 * SECOND, temperature=22.0)
    assert (line.shown(), line.table[WHO].clock) == (22.0, Doubt.NONE)
    assert line.said == ["60 min behind", "right again"]


def test_what_a_device_has_kept_while_it_was_cut_off_is_no_wrong_clock() -> None:
    line = Line()
    for number in range(600):
        line.hear(T0 + number * SECOND // 2, T0 - HOUR + number * 6 * SECOND, temperature=float(number))
    assert line.said == []
    assert line.shown() == 599.0


@pytest.mark.parametrize(
    ("at", "doubt"),
    [(60_000, Doubt.NEVER_SET), (T0 + HOUR, Doubt.AHEAD)],
    ids=["1970", "an hour ahead"],
)
def test_a_clock_that_cannot_be_right_is_seen_at_once_and_its_values_count_when_they_come(
    at: int, doubt: Doubt
) -> None:
    line = Line()
    line.hear(T0, at, temperature=20.0)
    line.hear(T0 + SECOND, at + SECOND, temperature=96.0)
    assert (line.shown(), line.table[WHO].heard_at, line.table[WHO].clock) == (96.0, T0 + SECOND, doubt)
    assert len(line.said) == 1


def test_a_bridge_that_repeats_what_it_has_kept_is_no_sign_of_life() -> None:
    line = Line()
    silent = make_rule("silent", type=RuleType.NO_DATA, kind=parse_topic(SMOKE).kind, field="online", after=MINUTE)
    evaluator = make_watches(silent)
    found = []
    for second in range(0, 120, 10):
        now = T0 + second * SECOND
        found += evaluator.tick(now).decisions
        module = {"temperature": 20.0} if second % 20 else {"humidity": 50.0}
        reading = line.hear(now, T0 - (0 if second % 20 else 3 * SECOND), **module)
        found += evaluator.take([reading]).decisions
    assert line.table[WHO].heard_at <= T0 + 20 * SECOND
    assert [decision.change.raised for decision in found] == [True]
    assert evaluator.take([line.hear(T0 + 121 * SECOND, T0 + 121 * SECOND, temperature=20.0)]).decisions


@given(
    st.lists(st.tuples(st.integers(1, 900_000), st.sampled_from([0, -HOUR, HOUR, -T0 + HOUR])), min_size=1, max_size=30)
)
def test_a_value_is_never_fresher_than_the_sample_that_told_it(steps: list[tuple[int, int]]) -> None:
    """Whatever the clock does: what is shown as fresh was said then."""
    line, now, spoken = Line(), T0, {}
    for number, (passed, shift) in enumerate(steps):
        now += passed
        line.hear(now, now + shift, temperature=float(number))
        spoken[now] = float(number)
        assert spoken[line.table[WHO].heard_at] == line.shown()


@given(st.integers(-HOUR, HOUR), st.integers(SURE_AFTER_MS // 1000 + 1, 600))
def test_a_steady_clock_is_doubted_only_where_it_is_off_by_more_than_five_minutes(lag: int, seconds: int) -> None:
    line = Line()
    for second in range(0, seconds, 5):
        line.hear(T0 + second * SECOND, T0 + second * SECOND - lag, temperature=20.0)
    line.hear(T0 + seconds * SECOND, T0 + seconds * SECOND - lag, temperature=20.0)
    assert bool(line.said) is (abs(lag) > BEHIND_MS)


@pytest.mark.parametrize("at", [T0 // 1000, T0 * 1000, T0 * 1_000_000, T0])
def test_a_time_in_another_unit_is_read_and_flagged(at: int) -> None:
    (reading,) = decode(parse_topic(SMOKE), f'{{"at":{at},"temperature":20}}'.encode(), T0 + SECOND).readings
    assert reading.measured_at // 1000 == T0 // 1000
    assert bool(reading.quality & Quality.OTHER_UNIT) is (at != T0)


def test_after_the_service_s_clock_was_set_back_new_values_are_shown() -> None:
    line = Line()
    line.hear(T0, None, temperature=96.0)
    line.table.not_after(T0 - HOUR)
    line.hear(T0 - HOUR + SECOND, None, temperature=20.0)
    assert (line.shown(), line.table[WHO].heard_at) == (20.0, T0 - HOUR + SECOND)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_doubtful_clock_is_an_alarm_of_the_platform_until_it_is_right_over_a_restart(
    database: Database,
) -> None:
    rules = [rule for rule in load_rules(()) if rule.id == "system.device_clock"]
    desk = await open_desk(database, *rules)
    clocks = DeviceClocks(clock_event)
    await desk.decide(*clocks.note([sample(SMOKE, {"temperature": 20.0}, 60_000, T0)]))
    row = await only_row(database, alarm)
    assert (row["part"], row["active"], row["value"]) == ("HQ:S-1", True, "shows a time before 2000")
    clocks = DeviceClocks(clock_event, await still_doubtful(database))
    await desk.decide(*clocks.note([sample(SMOKE, {"temperature": 20.0}, T0 + SECOND)]))
    assert not (await only_row(database, alarm))["active"]


# -- what a broker has kept ----------------------------------------------------------------------------


def kept(topic: str, received_at: int, **fields: Value) -> Reading:
    reading = sample(topic, fields, received_at, quality=int(Quality.NO_TIME | Quality.RETAINED))
    reading.digest = f"{received_at}" if topic == PANEL else ""
    return reading


async def restarted(database: Database, desk: Desk) -> Desk:
    return await open_desk(database, smoke_rule(), fire_rule(), clock=desk.clock)


@pytest.mark.parametrize(
    ("topic", "fields"), [(SMOKE, {"smoke": True}), (PANEL, {"type": "fire"})], ids=["a detector", "a panel"]
)
async def test_a_kept_message_of_life_safety_raises_its_alarm_once(
    database: Database, topic: str, fields: dict[str, Value]
) -> None:
    desk = await open_desk(database, smoke_rule(), fire_rule(), clock=Clock(T0))
    await desk.decide(kept(topic, T0, **fields))
    assert (await only_row(database, alarm))["active"]
    assert NOTE in {row["note"] for row in await rows_of(database, journal)}
    desk = await restarted(database, desk)
    await desk.decide(kept(topic, T0 + MINUTE, **fields))
    assert (await only_row(database, alarm))["activations"] == 1
    end = {name: False if value is True else value for name, value in fields.items()} | {"active": False}
    after = sample(topic, end, T0 + 2 * MINUTE)
    after.digest = "end" if topic == PANEL else ""
    await desk.decide(after)
    desk = await restarted(database, desk)
    await desk.decide(kept(topic, T0 + 3 * MINUTE, **fields))
    row = await only_row(database, alarm)
    assert (row["active"], row["activations"]) == (False, 1), "it is known, and the device has said the opposite since"


async def test_a_kept_message_ends_nothing_and_does_not_contradict_the_device_itself(database: Database) -> None:
    desk = await open_desk(database, smoke_rule())
    await desk.decide(sample(SMOKE, {"smoke": True}, T0), kept(SMOKE, T0 + 1, smoke=False))
    assert (await only_row(database, alarm))["active"]
    other = SMOKE.replace("S-1", "S-2")
    await desk.decide(sample(other, {"smoke": False}, T0 + 2), kept(other, T0 + 3, smoke=True))
    assert len(await rows_of(database, alarm)) == 1


def test_a_kept_value_is_shown_where_nothing_is_known_and_makes_nothing_fresh() -> None:
    table = LatestTable()
    table.absorb([kept(SMOKE, T0, smoke=True)])
    assert (table[WHO].fields["smoke"].value, table[WHO].heard_at) == (True, 0)
    table.absorb([sample(SMOKE, {"smoke": False}, T0 - MINUTE, T0 + 1)])
    table.absorb([kept(SMOKE, T0 + 2, smoke=True)])
    assert table[WHO].heard_at in (0, T0 + 1)
