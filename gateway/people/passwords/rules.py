"""Password rules after NIST SP 800-63B: minimum length, and no easily guessed passwords. Pure.

There are no rules on kinds of characters and no forced changes: both make passwords worse.
"""

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from gateway.people.passwords.common_passwords import KEYBOARD_ROWS, WORDS

MOST: Final = 256
"""Characters; NIST requires at least 64."""
_UNGUESSED: Final = 5
"""Characters that must be left after all easily guessed pieces are removed."""
_LOOK_ALIKES: Final = str.maketrans("013457@$!", "oleastasi")
_RUN: Final = 3
_REPEATED: Final = re.compile(r"(.{1,4}?)\1+")


class Weakness(StrEnum):
    """Why a password is refused."""

    TOO_SHORT = "password_too_short"
    TOO_LONG = "password_too_long"
    GUESSABLE = "password_guessable"


def normalised(text: str) -> str:
    """Normalize (NFKC): the same letters typed on another keyboard are the same password."""
    return unicodedata.normalize("NFKC", text)


def weakness_of(password: str, least: int, context: Iterable[str] = ()) -> Weakness | None:
    """Why the password is refused, or None.

    Args:
        password: as typed.
        least: minimum length.
        context: words known to a guesser: the person's name, the site, the service.
    """
    text = normalised(password)
    if len(text) < least:
        return Weakness.TOO_SHORT
    if len(text) > MOST:
        return Weakness.TOO_LONG
    return Weakness.GUESSABLE if len(_unguessed(text, context)) < _UNGUESSED else None


def _unguessed(text: str, context: Iterable[str]) -> str:
    """The rest of a password after common words, names, runs and repetitions are removed."""
    plain = text.casefold()
    known = [piece for words in context for piece in re.split(r"[\W_]+", normalised(words).casefold())]
    words = sorted(WORDS | {piece for piece in known if len(piece) > 1}, key=len, reverse=True)
    return min((_taken_out(spelling, words) for spelling in (plain, plain.translate(_LOOK_ALIKES))), key=len)


def _taken_out(text: str, words: Iterable[str]) -> str:
    for word in words:
        text = text.replace(word, " ")
    text = "".join(re.findall(r"\w", _without_runs(text)))
    # A repetition counts once; a single remaining letter does not count.
    shorter = _REPEATED.sub(r"\1", text)
    return shorter if len(set(shorter)) > 2 else ""


def _without_runs(text: str) -> str:
    """Remove runs: on the keyboard, in the alphabet, of digits; forwards or backwards."""
    kept, start = [], 0
    while start < len(text):
        length = _run_at(text, start)
        if length < _RUN:
            kept.append(text[start])
            length = 1
        start += length
    return "".join(kept)


def _run_at(text: str, start: int) -> int:
    length = 1
    while start + length < len(text) and _in_a_row(text[start : start + length + 1]):
        length += 1
    return length


def _in_a_row(piece: str) -> bool:
    return any(piece in row or piece[::-1] in row for row in KEYBOARD_ROWS)
