"""The table of newest values: what a tile shows, whatever the order of arrival, whoever looks in between."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.timeseries.latest import LatestTable
from collectors.timeseries.store import Latest, LatestValue
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic

LIFT = Topic("garden", Kind.ELEVATOR, "L1", Channel.TELEMETRY)
L1, L2 = ("garden", "L1"), ("garden", "L2")


def reading(at: int, received_at: int, equipment: str = "L1", **fields: Value) -> Reading:
    topic = Topic("garden", Kind.ELEVATOR, equipment, Channel.TELEMETRY)
    return Reading(topic, dict(fields), at, received_at, at * 1_000_000)


def test_a_later_measurement_takes_the_place_of_an_earlier_one() -> None:
    table = LatestTable()
    assert table.absorb([reading(1, 10, speed=1.0), reading(2, 11, speed=2.0)]) == {L1}
    assert table[L1] == Latest("elevator", 11, {"speed": LatestValue(2.0, 2)})


def test_a_late_sample_changes_nothing_that_is_newer_and_fills_in_what_was_not_known() -> None:
    table = LatestTable()
    table.absorb([reading(5, 10, speed=2.0), reading(3, 11, speed=1.0, floor="3")])
    assert table[L1].fields == {"speed": LatestValue(2.0, 5), "floor": LatestValue("3", 3)}
    assert table[L1].heard_at == 11, "it has told a field that was not known"
    table.absorb([reading(4, 12, speed=1.0)])
    assert table[L1].heard_at == 11, "what is shown is no fresher for a sample from before it"


def test_of_two_samples_of_one_moment_the_later_one_to_come_counts() -> None:
    table = LatestTable()
    table.absorb([reading(5, 10, speed=1.0)])
    table.absorb([reading(5, 10, speed=2.0)])
    assert table[L1].fields["speed"] == LatestValue(2.0, 5)


def test_a_field_that_is_no_longer_sent_keeps_its_last_value_and_time() -> None:
    table = LatestTable()
    table.absorb([reading(1, 10, speed=1.0, floor="3"), reading(2, 11, speed=2.0)])
    assert table[L1].fields == {"speed": LatestValue(2.0, 2), "floor": LatestValue("3", 1)}


def test_what_was_known_before_a_restart_is_kept_under_the_new() -> None:
    table = LatestTable()
    table.put(L1, Latest("elevator", 7, {"speed": LatestValue(1.0, 5), "floor": LatestValue("3", 5)}))
    table.absorb([reading(6, 9, speed=2.0), reading(4, 10, floor="2")])
    assert table[L1] == Latest("elevator", 9, {"speed": LatestValue(2.0, 6), "floor": LatestValue("3", 5)})


def test_the_table_lists_each_equipment_once() -> None:
    table = LatestTable()
    table.absorb([reading(1, 1), reading(2, 2), reading(1, 1, "L2", speed=1.0)])
    assert (set(table), len(table)) == ({L1, L2}, 2)
    assert table.get(("garden", "L9")) is None
    assert table[L2].kind == "elevator"
    assert (set(table), len(table)) == ({L1, L2}, 2), "looking changes nothing"


ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from(["L1", "L2"]),
        st.integers(0, 6),
        st.integers(0, 6),
        st.dictionaries(st.sampled_from(["speed", "load", "floor"]), st.integers(0, 9).map(float), max_size=3),
        st.booleans(),
    ),
    max_size=30,
)


@given(ARRIVALS)
def test_the_table_equals_a_plain_calculation_whoever_looks_in_between(
    arrivals: list[tuple[str, int, int, dict[str, float], bool]],
) -> None:
    table = LatestTable()
    heard: dict[str, int] = {}
    values: dict[tuple[str, str], LatestValue] = {}
    for equipment, at, received_at, fields, look in arrivals:
        table.absorb([reading(at, received_at, equipment, **fields)])
        current = {name for name in fields if (equipment, name) not in values or values[equipment, name].at <= at}
        values |= {(equipment, name): LatestValue(fields[name], at) for name in current}
        heard[equipment] = max(heard.get(equipment, 0), received_at if current else 0)
        if look:
            assert table[("garden", equipment)].heard_at == heard[equipment]
    for equipment, heard_at in heard.items():
        expected = {name: value for (who, name), value in values.items() if who == equipment}
        assert table[("garden", equipment)] == Latest("elevator", heard_at, expected)


def test_a_clock_that_is_ahead_does_not_freeze_its_value() -> None:
    table = LatestTable()
    ahead = reading(2_000, 10, leak=False)
    ahead.quality = int(Quality.FUTURE)
    table.absorb([ahead])
    table.absorb([reading(11, 11, leak=True)])
    assert table[L1].fields == {"leak": LatestValue(True, 11)}
