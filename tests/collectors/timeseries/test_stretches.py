"""Stretches of texts and booleans: joined from any parts they tell what the samples told."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from collectors.timeseries.rollups import DAY, HOUR, MINUTE, SAMPLES, Piece
from collectors.timeseries.store import Change, History
from collectors.timeseries.stretches import (
    Block,
    Stretch,
    changes_of,
    decode,
    encode,
    join,
    joined,
    newest,
    of_changes,
    refined,
    short,
    too_coarse,
)

VALUES = st.sampled_from([True, False]) | st.sampled_from(["auto", "manual", "x" * 1_000])
SAMPLES_OF_A_FIELD = st.lists(VALUES, min_size=1, max_size=200).map(lambda values: list(enumerate(values)))


def test_a_sample_that_repeats_the_one_before_it_is_no_change() -> None:
    assert changes_of([(1, "a"), (2, "a"), (3, "b"), (4, "a")]) == [Change(1, "a"), Change(3, "b"), Change(4, "a")]
    assert changes_of([(1, True), (2, "true"), (3, "true")]) == [Change(1, True), Change(2, "true")]


@given(SAMPLES_OF_A_FIELD, st.sets(st.integers(1, 199)))
def test_joined_parts_are_the_whole(samples: list[tuple[int, bool | str]], cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(samples)), len(samples)]
    parts = [short(of_changes(changes_of(samples[first:end]))) for first, end in itertools.pairwise(edges)]
    whole = short(of_changes(changes_of(samples)))
    made = join(parts)
    assert _counted(made) == _counted(whole)
    if all(part.changes is not None for part in parts):
        assert made == whole
    assert decode(encode(made)) == made


def _counted(stretch: Stretch) -> tuple[int, bool | str, bool | str, int]:
    return stretch.at, stretch.first, stretch.last, stretch.count


def test_of_many_or_long_changes_only_the_number_is_kept() -> None:
    assert short(of_changes([Change(at, at % 2 == 0) for at in range(33)])).changes is not None
    many = short(of_changes([Change(at, at % 2 == 0) for at in range(34)]))
    assert many == Stretch(0, True, False, 33, None)
    assert short(of_changes([Change(at, f"{at}" + "x" * 900) for at in range(4)])).changes is None
    assert len(encode(short(of_changes([Change(at, f"{at}" + "更" * 1_023) for at in range(99)])))) < 2**16


def test_stretches_go_to_the_step_in_which_they_begin() -> None:
    quiet = Stretch(HOUR, True, True, 0, ())
    assert joined([(HOUR, quiet), (HOUR + MINUTE, quiet), (2 * HOUR, quiet)], HOUR) == {
        HOUR: quiet,
        2 * HOUR: quiet,
    }


def day(number: int, value: bool | str, count: int = 0) -> Block:
    changes = () if count == 0 else None
    return Block(DAY, number * DAY, Stretch(number * DAY, value, value, count, changes))


def test_only_as_many_of_the_newest_stretches_are_read_in_finer_steps_as_are_wanted() -> None:
    blocks = [day(1, True, 40), day(2, True, 40), day(3, True), day(4, True, 40), day(5, False, 40)]
    assert too_coarse(blocks, 40) == [Piece(HOUR, 5 * DAY, 6 * DAY)], "41 with the change at its beginning"
    assert too_coarse(blocks, 41) == [Piece(HOUR, 4 * DAY, 6 * DAY)], "whether there is one more must be known"
    assert too_coarse(blocks, 81) == [Piece(HOUR, 4 * DAY, 6 * DAY), Piece(HOUR, 2 * DAY, 3 * DAY)]
    assert too_coarse([day(1, True), day(2, False)], 500) == []


def test_finer_blocks_stand_where_the_coarse_one_was() -> None:
    blocks = [day(1, True, 40), day(2, True), day(3, True, 40)]
    found = Block(HOUR, 3 * DAY + HOUR, Stretch(3 * DAY + HOUR, True, True, 0, ()))
    assert refined(blocks, too_coarse(blocks, 10), [found]) == [blocks[0], blocks[1], found]


def test_a_stretch_that_begins_as_the_one_before_it_ended_begins_with_no_change() -> None:
    blocks = [day(1, True), day(2, True), day(3, False)]
    assert newest(blocks, 5) == History(False, [], [Change(DAY, True), Change(3 * DAY, False)])
    assert newest(blocks, 1) == History(False, [], [Change(3 * DAY, False)], older_left_out=True)
    read = Block(SAMPLES, 0, of_changes([Change(1, False), Change(2, True)]))
    assert newest([read, *blocks], 9).changes == [Change(1, False), Change(2, True), Change(3 * DAY, False)]
    assert newest([], 9) == History(False, [], [])
