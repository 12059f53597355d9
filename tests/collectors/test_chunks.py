"""How many rows a transaction of a long deletion takes: the law, whatever rows cost and however that changes."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.chunks import FIRST, LIMIT_S, MOST_ROWS, Chunk, next_chunk

costs = st.floats(1e-7, 0.02)
"""Seconds a row."""
chunks = st.integers(1, MOST_ROWS).map(lambda rows: Chunk(rows, 0.0))


@given(chunk=chunks, took_s=st.floats(0, 1e4), most=st.integers(1, MOST_ROWS))
def test_it_is_never_none_never_more_than_allowed_and_at_most_twice_the_last(
    chunk: Chunk, took_s: float, most: int
) -> None:
    rows = next_chunk(chunk, took_s, most).rows
    assert 1 <= rows <= min(most, 2 * chunk.rows)


@given(chunk=chunks, over=st.floats(1.001, 1e4))
def test_after_one_that_was_too_long_it_is_half_as_large_at_the_most(chunk: Chunk, over: float) -> None:
    assert next_chunk(chunk, LIMIT_S * over).rows <= max(1, chunk.rows // 2)


@given(cost=costs)
def test_whatever_a_row_costs_transactions_come_to_be_within_the_limit_and_not_tiny(cost: float) -> None:
    chunk = FIRST
    for _ in range(30):
        chunk = next_chunk(chunk, chunk.rows * cost)
    assert chunk.rows * cost <= LIMIT_S
    assert chunk.rows == MOST_ROWS or 2 * chunk.rows * cost >= LIMIT_S / 3 or chunk.rows == 1


@given(before=costs, after=costs)
def test_when_rows_become_dearer_the_next_but_one_transaction_is_within_the_limit(before: float, after: float) -> None:
    chunk = FIRST
    for _ in range(30):
        chunk = next_chunk(chunk, chunk.rows * before)
    chunk = next_chunk(chunk, chunk.rows * after)
    assert chunk.rows * after <= LIMIT_S or chunk.rows == 1


def test_a_disk_that_is_slow_at_every_commit_does_not_lead_to_one_row_at_a_time() -> None:
    chunk = FIRST
    for _ in range(30):
        chunk = next_chunk(chunk, 0.030 + chunk.rows * 1e-5)
    assert chunk.rows >= FIRST.rows


@given(chunk=chunks, took_s=st.floats(0, 1e4))
def test_between_two_of_them_others_have_time_and_the_end_is_not_put_off(chunk: Chunk, took_s: float) -> None:
    pause_s = next_chunk(chunk, took_s).pause_s
    assert 0.02 <= pause_s <= 0.05
