"""Which passwords are refused, after NIST SP 800-63B: too short, or among those that a guesser tries first. Pure.

No letters of a certain kind are asked for, and nobody has to change a good password: both only make them worse.
"""

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from gateway.people.passwords.common_passwords import KEYBOARD_ROWS, WORDS

MOST: Final = 256
"""Characters; NIST asks for at least 64."""
_UNGUESSED: Final = 5
"""Characters that must be left when every piece that a guesser would try is taken out."""
_LOOK_ALIKES: Final = str.maketrans("013457@$!", "oleastasi")
_RUN: Final = 3
_REPEATED: Final = re.compile(r"(.{1,4}?)\1+")


class Weakness(StrEnum):
    """Why a password is refused."""

    TOO_SHORT = "password_too_short"
    TOO_LONG = "password_too_long"
    GUESSABLE = "password_guessable"


def normalised(text: str) -> str:
    """The same letters typed on another keyboard are the same password (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def weakness_of(password: str, least: int, context: Iterable[str] = ()) -> Weakness | None:
    """Why it cannot be taken, or None.

    Args:
        password: as typed.
        least: the fewest characters.
        context: words that a guesser knows: the person's name, the site, the service.
    """
    text = normalised(password)
    if len(text) < least:
        return Weakness.TOO_SHORT
    if len(text) > MOST:
        return Weakness.TOO_LONG
    return Weakness.GUESSABLE if len(_unguessed(text, context)) < _UNGUESSED else None


def _unguessed(text: str, context: Iterable[str]) -> str:
    """What is left of a password when common words, names, runs and repetitions are taken out."""
    plain = text.casefold()
    known = [piece for words in context for piece in re.split(r"[\W_]+", normalised(words).casefold())]
    words = sorted(WORDS | {piece for piece in known if len(piece) > 1}, key=len, reverse=True)
    return min((_taken_out(spelling, words) for spelling in (plain, plain.translate(_LOOK_ALIKES))), key=len)


def _taken_out(text: str, words: Iterable[str]) -> str:
    for word in words:
        text = text.replace(word, " ")
    text = "".join(re.findall(r"\w", _without_runs(text)))
    # What is repeated counts once; a single letter left in the end is nothing.
    shorter = _REPEATED.sub(r"\1", text)
    return shorter if len(set(shorter)) > 2 else ""


def _without_runs(text: str) -> str:
    """Without what lies in a row: on the keyboard, in the alphabet, among the digits; forwards or backwards."""
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
