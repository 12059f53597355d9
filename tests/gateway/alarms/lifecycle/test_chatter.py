"""Chatter: when it begins, and the delay that would have kept it quiet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.lifecycle.chatter import Recent, proposed_off_delay

PULSES = st.lists(st.tuples(st.integers(1, 90_000), st.integers(1, 90_000)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("times", "chatters"),
    [
        ((0, 30_000, 59_999), [False, False, True]),
        ((0, 30_000, 60_000), [False, False, False]),  # the third a minute after the first
        ((0, 100, 200, 60_150), [False, False, True, False]),  # only one of them is still near
    ],
)
def test_the_third_activation_within_a_minute_is_chatter(times: tuple[int, ...], chatters: list[bool]) -> None:
    recent = Recent()
    assert [recent.is_chatter("K", str(at), at) for at in times] == chatters


def test_keys_do_not_add_up_and_a_repeat_is_no_second_activation() -> None:
    recent = Recent()
    assert not any(recent.is_chatter(f"point {number}", "first", number) for number in range(300))
    assert not any(recent.is_chatter("K", "the same", 0) for _ in range(5))


def test_keys_are_remembered_by_their_number_and_not_by_the_clock() -> None:
    recent = Recent()
    assert [recent.is_chatter("K", str(at), at) for at in (0, 1)] == [False, False]
    assert not any(recent.is_chatter(number, "first", 10**9) for number in range(100))
    assert recent.is_chatter("K", "2", 59_000), "a backlog is measured at another time than now"
    assert not any(recent.is_chatter(number, "first", 10**9) for number in range(30_000))
    assert not recent.is_chatter("K", "3", 59_500), "but memory is bounded"


def merged(active: list[tuple[int, int]], delay: int) -> int:
    """How many activations an off-delay leaves: what begins again before it is over is the same one."""
    count, quiet_from = 0, -1
    for begins, ends in active:
        count += begins >= quiet_from
        quiet_from = ends + delay
    return count


@given(PULSES)
def test_a_proposal_leaves_as_many_as_it_says_and_halves_them(pulses: list[tuple[int, int]]) -> None:
    active, at = [], 0
    for length, pause in pulses:
        active.append((at, at + length))
        at += length + pause
    proposal = proposed_off_delay(active)
    if proposal is None:
        assert merged(active, 600_000) * 2 > len(active)
    else:
        assert proposal.would_have_been == merged(active, proposal.seconds * 1000) <= len(active) / 2
        assert proposal.activations == len(active)


def test_the_shortest_delay_that_helps_is_proposed() -> None:
    every_ten = [(second * 1000, second * 1000 + 2000) for second in range(0, 240, 10)]  # quiet for eight seconds
    proposal = proposed_off_delay(every_ten)
    assert proposal is not None
    assert (proposal.seconds, proposal.activations, proposal.would_have_been) == (10, 24, 1)
