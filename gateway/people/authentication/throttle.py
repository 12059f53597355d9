"""How long somebody must wait before the next try at a password. Pure; times are milliseconds.

A guesser is slowed, nobody is ever locked out: docs/decisions/0012 says why each delay is what it is.
"""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

import msgspec

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
MOST_KEPT: Final = 50_000
"""Counts in memory; the oldest are forgotten beyond that."""


class Counted(StrEnum):
    """What failures are counted by."""

    DEVICE = "device"
    PAIR = "pair"
    ADDRESS = "address"
    ACCOUNT = "account"
    SUCCESS = "success"


class Slowing(msgspec.Struct, frozen=True):
    """After `free` failures `first` ms, doubled with each further one up to `most`; forgotten after `forget`."""

    free: int
    first: int
    most: int
    forget: int


SLOWING: Final[Mapping[Counted, Slowing]] = {
    # A browser in which this person has logged in before; nothing else slows it.
    Counted.DEVICE: Slowing(10, 1_000, 30_000, _HOUR),
    # One name from one address: a guesser, or somebody who has forgotten.
    Counted.PAIR: Slowing(5, 1_000, 5 * _MINUTE, _HOUR),
    # Many names from one address. A whole estate may stand behind one address, so it is never slowed much.
    Counted.ADDRESS: Slowing(50, 1_000, 10_000, 15 * _MINUTE),
    # One name from many addresses (NIST SP 800-63B: at most 100 failures in a row without a limit).
    Counted.ACCOUNT: Slowing(100, 1_000, 10_000, 24 * _HOUR),
    # Right passwords of one account, from anywhere: each costs a tenth of a second of a processor and several rows.
    Counted.SUCCESS: Slowing(100, 1_000, 30_000, 15 * _MINUTE),
}
Key = tuple[Counted, str]


class Attempt(NamedTuple):
    """A try: at which account, from where; `device` is set where the browser is known to be this person's."""

    username: str
    address: str
    device: str | None

    def counted_by(self) -> list[Key]:
        """What its failure is counted by."""
        if self.device is not None:
            return [(Counted.DEVICE, self.device)]
        place = network_of(self.address)
        return [
            (Counted.PAIR, f"{self.username} {place}"),
            (Counted.ADDRESS, place),
            (Counted.ACCOUNT, self.username),
        ]

    def slowed_by(self) -> list[Key]:
        """What it may have to wait for."""
        return [*self.counted_by(), self.success()]

    def success(self) -> Key:
        """What its success is counted by."""
        return Counted.SUCCESS, self.username


def account_of(key: Key) -> str:
    """The user name by which it is counted; "" where it is by an address or a browser only."""
    kind, text = key
    if kind is Counted.PAIR:
        return text.rpartition(" ")[0]  # a name that somebody has made up may have blanks in it
    return text if kind in {Counted.ACCOUNT, Counted.SUCCESS} else ""


def network_of(address: str) -> str:
    """An address as one counts by it: of IPv6 the first 64 bits, because everybody has a whole net of those."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(found) >> 64 << 64)) if isinstance(found, IPv6Address) else str(found)


class Throttle:
    """The counts. A try is counted before its password is checked, so that a thousand at once are a thousand."""

    def __init__(self) -> None:
        self._failures: dict[Key, tuple[int, int]] = {}
        """Key -> how many, and when the last one was."""

    def wait(self, attempt: Attempt, now: int) -> int:
        """Milliseconds until the next try is looked at; 0: at once."""
        return max(0, *(self._due_at(key, now) - now for key in attempt.slowed_by()))

    def count(self, attempt: Attempt, now: int) -> None:
        """Take note of a try that is being looked at."""
        for key in attempt.counted_by():
            self._count(key, now)

    def forgive(self, attempt: Attempt, now: int) -> dict[Key, int]:
        """It was right: take back what this person's own failures can be, and count the success.

        A browser and a pair of name and address lose all that they have. The account loses only what was counted for
        it at this address, as NIST SP 800-63B (5.2.2) says: what others have guessed elsewhere stays. The address
        loses this one try: what was guessed there at other accounts stays.

        Returns:
            Key -> how many were taken back.
        """
        counts = {key: self._failures.get(key, (0, 0)) for key in attempt.counted_by()}
        here = next((count for (kind, _), (count, _) in counts.items() if kind is Counted.PAIR), 0)
        taken = {Counted.ADDRESS: 1, Counted.ACCOUNT: here}
        found = {key: min(count, taken.get(key[0], count)) for key, (count, _) in counts.items()}
        for key, (count, at) in counts.items():
            self.set(key, count - found[key], at)
        self._count(attempt.success(), now)
        return found

    def _count(self, key: Key, now: int) -> None:
        before = self._failures[key][0] if self._is_remembered(key, now) else 0
        self._failures.pop(key, None)  # so that the dictionary stays in the order of age
        self._failures[key] = (before + 1, now)
        while len(self._failures) > MOST_KEPT:
            del self._failures[next(iter(self._failures))]

    def set(self, key: Key, count: int, at: int) -> None:
        """What is known from elsewhere."""
        self._failures.pop(key, None)
        if count:
            self._failures[key] = (count, at)

    def forget_account(self, username: str) -> None:
        """An administrator has let this person in again."""
        for key in [key for key in self._failures if account_of(key) == username]:
            self._failures.pop(key, None)

    def _is_remembered(self, key: Key, now: int) -> bool:
        count_at = self._failures.get(key)
        return count_at is not None and now - count_at[1] < SLOWING[key[0]].forget

    def _due_at(self, key: Key, now: int) -> int:
        if not self._is_remembered(key, now):
            return 0
        count, last_at = self._failures[key]
        rule = SLOWING[key[0]]
        over = count - rule.free
        return last_at + min(rule.most, rule.first * 2 ** min(over, 30)) if over >= 0 else 0
