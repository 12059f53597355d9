"""Which rollups draw a range: every moment of it once, from the coarsest step that holds."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.timeseries.rollups import DAY, HOUR, MINUTE, SAMPLES, STEPS, Figures, Piece, buckets, choose, pieces
from collectors.timeseries.store import Bucket

T0 = 20_000 * DAY
MOMENTS = st.integers(0, 40 * DAY).map(lambda moment: T0 + moment)


@given(MOMENTS, MOMENTS, st.sampled_from(STEPS), st.lists(MOMENTS.map(lambda at: at // MINUTE * MINUTE), max_size=20))
def test_pieces_cover_the_range_once_and_avoid_what_is_dirty(start: int, end: int, step: int, dirty: list[int]) -> None:
    found = pieces(start, end, step, dirty)
    at = start
    for piece in found:
        assert piece.start == at
        assert piece.end > piece.start
        at = piece.end
        if piece.step:
            assert piece.step <= step
            assert piece.start % piece.step == piece.end % piece.step == 0, "whole rollups only"
            assert not any(piece.start <= minute < piece.end for minute in dirty)
    assert at == end or (start >= end and not found)


def test_a_clean_range_takes_the_coarsest_step_inside_and_finer_ones_at_its_edges() -> None:
    start, end = T0 - HOUR - MINUTE - 1, T0 + 2 * DAY + 5
    assert pieces(start, end, DAY, []) == [
        Piece(SAMPLES, start, start + 1),
        Piece(MINUTE, start + 1, T0 - HOUR),
        Piece(HOUR, T0 - HOUR, T0),
        Piece(DAY, T0, T0 + 2 * DAY),
        Piece(SAMPLES, T0 + 2 * DAY, end),
    ]


def test_around_a_dirty_minute_the_day_is_drawn_from_what_is_finer() -> None:
    minute = T0 + 5 * HOUR + 7 * MINUTE
    assert pieces(T0, T0 + DAY, DAY, [minute]) == [
        Piece(HOUR, T0, T0 + 5 * HOUR),
        Piece(MINUTE, T0 + 5 * HOUR, minute),
        Piece(SAMPLES, minute, minute + MINUTE),
        Piece(MINUTE, minute + MINUTE, T0 + 6 * HOUR),
        Piece(HOUR, T0 + 6 * HOUR, T0 + DAY),
    ]


@given(MOMENTS, st.integers(1, 3000 * DAY), st.integers(1, 10_000))
def test_never_more_buckets_than_points_and_never_many_rows(start: int, length: int, points: int) -> None:
    chosen = choose(start, start + length, points)
    if chosen is None:
        assert length // MINUTE < points
        return
    step, width = chosen
    assert width % step == 0
    assert (start + length - 1) // width - start // width + 1 <= points or width >= start + length
    assert length // step <= 6_000


def test_a_year_of_a_thousand_points_comes_from_days_and_a_day_from_minutes() -> None:
    assert choose(T0, T0 + 365 * DAY, 1000) == (DAY, DAY)
    assert choose(T0, T0 + DAY, 1000) == (MINUTE, 2 * MINUTE)
    assert choose(T0, T0 + HOUR, 1000) is None, "samples show more"


def test_figures_join_into_buckets_and_the_first_begins_where_the_range_does() -> None:
    figures = [
        Figures(T0, 1.0, 3.0, 2.0, 2),
        Figures(T0 + MINUTE, 0.0, 0.0, 0.0, 1),
        Figures(T0 + HOUR, 7.0, 7.0, 7.0, 1),
    ]
    assert buckets(figures, T0 + 5, HOUR) == [Bucket(T0 + 5, 0.0, 1.0, 2.0, 3), Bucket(T0 + HOUR, 7.0, 7.0, 7.0, 1)]
