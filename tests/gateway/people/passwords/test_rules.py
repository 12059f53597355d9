"""Passwords: long ones are taken as they are, and only those are refused that a guesser tries first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.people.passwords.common_passwords import WORDS
from gateway.people.passwords.rules import MOST, Weakness, normalised, weakness_of

LEAST = 15
CONTEXT = ("wei.zhang", "张伟", "Wei Zhang", "hq-tower")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "tuesday-lantern-carries",
        "我的猫昨天在屋顶上睡着了所以没有",
        "Xk9vQ2mB7wLp4Rt",
        "nine kettles sing before dawn",  # no capital, no digit, no sign: none is asked for
        "ünïcode häs möre thän äscii",
        "  spaces   are letters too  ",
        "x" + "correct horse battery" * 12,  # 253 characters
    ],
)
def test_a_long_password_of_ones_own_is_taken(password: str) -> None:
    assert weakness_of(password, LEAST, CONTEXT) is None


@pytest.mark.parametrize(
    ("password", "weakness"),
    [
        ("", Weakness.TOO_SHORT),
        ("Tr0ub4dor&3", Weakness.TOO_SHORT),
        ("x" * (MOST + 1), Weakness.TOO_LONG),
        ("password1234567", Weakness.GUESSABLE),
        ("PASSWORD!password", Weakness.GUESSABLE),
        ("P@ssw0rd!P@ssw0rd!", Weakness.GUESSABLE),
        ("123456789012345", Weakness.GUESSABLE),
        ("987654321098765", Weakness.GUESSABLE),
        ("aaaaaaaaaaaaaaaaaaaa", Weakness.GUESSABLE),
        ("abababababababab", Weakness.GUESSABLE),
        ("qwertyuiopasdfg", Weakness.GUESSABLE),
        ("1qaz2wsx3edc4rfv", Weakness.GUESSABLE),
        ("iloveyouiloveyou", Weakness.GUESSABLE),
        ("gengfugengfu123", Weakness.GUESSABLE),  # the name of the service
        ("gengfu-watchman-2026", Weakness.GUESSABLE),
        ("更夫更夫更夫更夫更夫更夫更夫更夫", Weakness.GUESSABLE),
        ("woaini1314520woaini", Weakness.GUESSABLE),
        ("wei.zhang wei zhang", Weakness.GUESSABLE),  # one's own name
        ("hq-tower-hq-tower-1", Weakness.GUESSABLE),  # the site
        ("ｐａｓｓｗｏｒｄ１２３４５６７", Weakness.GUESSABLE),  # the same letters, wider
    ],
)
def test_what_a_guesser_tries_first_is_refused_by_name(password: str, weakness: Weakness) -> None:
    assert weakness_of(password, LEAST, CONTEXT) is weakness


@given(word=st.sampled_from(sorted(WORDS)), other=st.sampled_from(sorted(WORDS)), digits=st.integers(0, 9))
def test_common_words_strung_together_are_no_password(word: str, other: str, digits: int) -> None:
    assert weakness_of(f"{word.upper()} {other}!{digits}{word}", 1) is Weakness.GUESSABLE


@given(text=st.text(max_size=300), least=st.integers(8, 64))
def test_the_length_is_counted_in_characters_after_normalising(text: str, least: int) -> None:
    length = len(normalised(text))
    weakness = weakness_of(text, least)
    assert (weakness is Weakness.TOO_SHORT) is (length < least)
    assert (weakness is Weakness.TOO_LONG) is (length > MOST and length >= least)


def test_the_list_is_of_some_hundreds_of_words() -> None:
    assert len(WORDS) > 300
    assert all(word == word.casefold() for word in WORDS)
