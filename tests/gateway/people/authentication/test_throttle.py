"""Guessers are slowed, and nobody else: what is counted, by what, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.people.authentication.throttle import MOST_KEPT, SLOWING, Attempt, Counted, Throttle, network_of
from tests.builders.alarms import T0

HOUR_MS = 3_600_000
STRANGER = Attempt("wei", "203.0.113.9", None)
ELSEWHERE = Attempt("wei", "198.51.100.4", None)
OWN_PHONE = Attempt("wei", "203.0.113.9", "the phone wei")


def fail(throttle: Throttle, attempt: Attempt, times: int, now: int = T0) -> int:
    """Fail as often, each time as soon as it is permitted; when the last one was."""
    for _ in range(times):
        now += throttle.wait(attempt, now)
        throttle.count(attempt, now)
    return now


def test_five_tries_are_free_and_then_each_costs_twice_the_time_of_the_one_before() -> None:
    throttle = Throttle()
    now = fail(throttle, STRANGER, 4)
    assert (now, throttle.wait(STRANGER, now)) == (T0, 0)
    waits = []
    for _ in range(12):
        now = fail(throttle, STRANGER, 1, now)
        waits.append(throttle.wait(STRANGER, now) // 1000)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_a_day_of_guessing_from_one_address_is_a_few_hundred_tries() -> None:
    throttle, now, tries = Throttle(), T0, 0
    while now < T0 + 24 * HOUR_MS:
        now = fail(throttle, STRANGER, 1, now)
        tries += 1
    assert tries < 320


def test_a_stranger_cannot_slow_the_person_at_another_address_or_in_a_known_browser() -> None:
    throttle = Throttle()
    now = fail(throttle, STRANGER, 30)
    assert throttle.wait(STRANGER, now) > 60_000
    assert throttle.wait(ELSEWHERE, now) == 0
    assert throttle.wait(OWN_PHONE, now) == 0, "even behind the same address"


def test_many_names_from_one_address_are_slowed_but_an_estate_behind_it_can_still_log_in() -> None:
    throttle, now = Throttle(), T0
    for number in range(200):
        now = fail(throttle, Attempt(f"name{number}", "203.0.113.9", None), 1, now)
    wait = throttle.wait(Attempt("somebody", "203.0.113.9", None), now)
    assert 0 < wait <= 10_000


def test_one_name_from_many_addresses_is_slowed_after_a_hundred_but_never_much() -> None:
    throttle, now = Throttle(), T0
    for number in range(100):
        now = fail(throttle, Attempt("wei", f"203.0.{number}.1", None), 1, now)
    assert now == T0
    for number in range(20):
        now = fail(throttle, Attempt("wei", f"198.51.{number}.1", None), 1, now)
    assert 0 < throttle.wait(ELSEWHERE, now) <= 10_000
    assert throttle.wait(OWN_PHONE, now) == 0


def test_being_right_forgives_and_what_others_did_from_the_address_stays() -> None:
    throttle = Throttle()
    now = fail(throttle, STRANGER, 4)
    throttle.count(STRANGER, now)
    throttle.forgive(STRANGER, now)
    assert fail(throttle, STRANGER, 4, now) == now
    for number in range(60):
        throttle.count(Attempt(f"name{number}", STRANGER.address, None), now)
    throttle.count(STRANGER, now)
    throttle.forgive(STRANGER, now)
    assert throttle.wait(STRANGER, now) > 0


def test_a_success_at_one_address_keeps_what_was_guessed_at_the_account_from_others() -> None:
    throttle = Throttle()
    for number in range(100):
        throttle.count(Attempt("wei", f"203.0.{number}.1", None), T0)
    throttle.count(STRANGER, T0)
    throttle.forgive(STRANGER, T0)
    assert throttle.wait(ELSEWHERE, T0) > 0


@given(
    own=st.lists(st.booleans(), max_size=30),
    guesses=st.lists(st.integers(0, 5), max_size=80),
)
def test_who_owns_one_account_clears_nothing_of_what_counts_guesses_at_others(
    own: list[bool], guesses: list[int]
) -> None:
    """Guesses at others with one's own tries between them: the others' counts are as without these tries."""
    with_own, without = Throttle(), Throttle()
    mine = Attempt("mallory", STRANGER.address, None)
    for number, guess in enumerate(guesses):
        for throttle in (with_own, without):
            throttle.count(Attempt(f"name{guess}", STRANGER.address, None), T0)
        if number < len(own):
            with_own.count(mine, T0)
            if own[number]:
                with_own.forgive(mine, T0)
    for guess in range(6):
        other = Attempt(f"name{guess}", STRANGER.address, None)
        assert with_own.wait(other, T0) >= without.wait(other, T0)


def test_successes_of_one_account_are_slowed_after_a_hundred_and_nobody_else_by_them() -> None:
    """Each costs a tenth of a second of a processor, a login, and rows of the audit."""
    throttle, now = Throttle(), T0
    for _ in range(100):
        now = fail(throttle, OWN_PHONE, 1, now)
        throttle.forgive(OWN_PHONE, now)
    assert now == T0
    assert throttle.wait(OWN_PHONE, now) == throttle.wait(STRANGER, now) == 1_000
    assert throttle.wait(Attempt("li", STRANGER.address, None), now) == 0


def test_failures_are_forgotten() -> None:
    throttle = Throttle()
    now = fail(throttle, STRANGER, 20)
    assert throttle.wait(STRANGER, now + HOUR_MS) == 0


def test_an_administrators_reset_lets_in_at_once() -> None:
    throttle = Throttle()
    now = fail(throttle, STRANGER, 20)
    throttle.forget_account("somebody else")
    assert throttle.wait(STRANGER, now) > 0
    throttle.forget_account("wei")
    assert throttle.wait(STRANGER, now) == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),  # everybody has a whole net of these
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_an_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MOST_KEPT):
        throttle.count(Attempt(f"n{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", None), T0)
    assert len(throttle._failures) <= MOST_KEPT


@given(failures=st.integers(0, 10_000), kind=st.sampled_from(Counted))
def test_no_wait_is_longer_than_its_rule_says(failures: int, kind: Counted) -> None:
    throttle = Throttle()
    for key in (OWN_PHONE if kind is Counted.DEVICE else STRANGER).counted_by():
        if key[0] is kind:
            throttle._failures[key] = (failures, T0)
    attempt = OWN_PHONE if kind is Counted.DEVICE else STRANGER
    assert 0 <= throttle.wait(attempt, T0) <= SLOWING[kind].most
