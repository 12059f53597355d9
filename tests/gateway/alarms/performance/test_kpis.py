"""Figures of the alarm system: each against a plain count, and at the edges of its band."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.performance.flood import WINDOW_MS, floods
from gateway.alarms.performance.kpis import (
    BANDS,
    DAY_MS,
    FLEETING_MS,
    HOUR_MS,
    MINUTE_MS,
    Activation,
    Figures,
    Verdict,
    chattering,
    is_stale,
    measure,
    most_within,
    verdict,
)

T0 = 1_790_000_000_000 // WINDOW_MS * WINDOW_MS
TIMES = st.lists(st.integers(0, 6 * HOUR_MS), max_size=80).map(sorted)


def at(*minutes: float, key: str = "K", position: str = "HQ") -> list[Activation]:
    return [Activation(key, position, "high", T0 + int(minute * MINUTE_MS)) for minute in minutes]


def only(activations: list[Activation], length: int = DAY_MS) -> Figures:
    (figures,) = measure(activations, T0, T0 + length)
    return figures


def test_averages_are_activations_by_time() -> None:
    figures = only(at(*range(144)))
    assert figures.activations == 144
    assert (figures.average_per_day, figures.average_per_hour, figures.average_per_window) == (144, 6, 1)


def test_positions_are_measured_apart_and_by_name() -> None:
    figures = measure(at(1, 2, position="west") + at(3, position="east"), T0, T0 + DAY_MS)
    assert [(one.position, one.activations) for one in figures] == [("east", 1), ("west", 2)]


def test_what_began_outside_the_period_is_not_counted() -> None:
    assert only(at(-1, 0, 1439.99, 1440)).activations == 2


@given(TIMES, st.integers(1, HOUR_MS))
def test_the_worst_window_is_the_worst_of_all_windows(times: list[int], length: int) -> None:
    assert most_within(times, length) == max((sum(a - length < b <= a for b in times) for a in times), default=0)


@pytest.mark.parametrize(("count", "begins"), [(10, False), (11, True)])
def test_more_than_ten_in_ten_minutes_are_a_flood(count: int, begins: bool) -> None:
    times = [T0 + number * 1000 for number in range(count)]
    assert bool(floods(times, T0 + HOUR_MS)) is begins


def test_a_flood_lasts_until_fewer_than_five_came_in_ten_minutes() -> None:
    times = [T0 + number * 1000 for number in range(12)]
    assert floods(times, T0 + HOUR_MS) == [(times[10], times[7] + WINDOW_MS)]
    assert floods(times, times[11] + 1) == [(times[10], times[11] + 1)], "it still goes on"


@given(TIMES)
def test_floods_are_what_a_watch_of_every_second_sees(times: list[int]) -> None:
    times = [moment // 1000 * 1000 for moment in times]
    seen, began = [], None
    for now in range(0, 6 * HOUR_MS + 3 * WINDOW_MS, 1000):
        recent = sum(now - WINDOW_MS < moment <= now for moment in times)
        if began is None and recent > 10:
            began = now
        elif began is not None and recent < 5:
            seen.append((began, now))
            began = None
    assert floods(times, 6 * HOUR_MS + 3 * WINDOW_MS) == seen


def test_two_floods_are_two() -> None:
    burst = [number * 1000 for number in range(11)]
    later = [moment + HOUR_MS for moment in burst]
    assert [first for first, _ in floods([*burst, *later], 3 * HOUR_MS)] == [burst[-1], later[-1]]


def test_time_in_flood_and_windows_over_the_limit_are_shares() -> None:
    figures = only([one for second in range(11) for one in at(second / 60)], HOUR_MS)
    assert figures.windows_over_limit == pytest.approx(1 / 6)
    assert figures.time_in_flood == pytest.approx((WINDOW_MS - 4000) / HOUR_MS)
    assert figures.most_per_window == 11


@pytest.mark.parametrize(
    ("minutes", "chatters"),
    [
        ((0, 0.5, 0.99), True),  # three within a minute
        ((0, 0.5, 1.0), False),  # the third a minute after the first
        ((0, 0.5), False),  # two
    ],
)
def test_three_activations_of_one_key_within_a_minute_are_chatter(minutes: tuple[float, ...], chatters: bool) -> None:
    assert chattering([*at(*minutes), *at(0, 0.1, key="other")]) == (["K"] if chatters else [])


@pytest.mark.parametrize(("length", "fleeting"), [(FLEETING_MS - 1, 1), (FLEETING_MS, 0)])
def test_what_ends_within_ten_seconds_is_fleeting(length: int, fleeting: int) -> None:
    assert only([Activation("K", "HQ", "low", T0, T0 + length)]).fleeting == fleeting


@pytest.mark.parametrize(
    ("started", "ended", "stale"),
    [
        (-DAY_MS - 1, None, True),  # more than a day
        (-DAY_MS, None, False),  # a day
        (-2 * DAY_MS, -1, False),  # it has ended
        (-2 * DAY_MS, 1, True),  # it ended only later
    ],
)
def test_what_stands_for_more_than_a_day_is_stale(started: int, ended: int | None, stale: bool) -> None:
    assert is_stale(Activation("K", "HQ", "low", started, ended), 0) is stale


def test_what_was_stale_before_the_period_is_listed_and_not_counted() -> None:
    figures = only([Activation("old", "HQ", "low", T0 - 3 * DAY_MS), *at(1)])
    assert (figures.stale, figures.activations) == (["old"], 1)


def test_the_ten_most_frequent_and_their_share() -> None:
    often = [one for number in range(12) for one in at(*range(number + 1), key=f"K{number:02}")]
    figures = only(often)
    assert [(one.key, one.activations) for one in figures.most_frequent][:2] == [("K11", 12), ("K10", 11)]
    assert len(figures.most_frequent) == 10
    assert figures.most_frequent_share == pytest.approx(75 / 78)


def test_answers_are_measured_from_activation_to_acknowledgement() -> None:
    answered = [Activation("K", "HQ", "low", T0, None, T0 + seconds * 1000) for seconds in range(1, 102)]
    figures = only([*answered, *at(0)])
    assert (figures.answered_p50_s, figures.answered_p95_s) == (51, 96)


def test_without_answers_there_is_no_figure_of_them() -> None:
    assert only(at(0)).answered_p50_s is None


def test_the_mix_of_priorities_adds_up() -> None:
    mixed = [Activation("K", "HQ", priority, T0) for priority in ("low", "low", "low", "high")]
    assert only(mixed).by_priority == {"low": 0.75, "high": 0.25}


@pytest.mark.parametrize("figure", BANDS)
def test_every_band_has_its_figure_and_judges_at_its_edges(figure: str) -> None:
    band = BANDS[figure]
    assert figure in Figures.__struct_fields__
    assert band.good <= band.most
    assert verdict(figure, band.good) is Verdict.GOOD
    assert verdict(figure, band.most + 0.001) is Verdict.UNMANAGEABLE
    if band.good < band.most:
        assert verdict(figure, band.most) is Verdict.TO_BE_REDUCED
