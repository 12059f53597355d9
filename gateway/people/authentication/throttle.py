"""Delay before the next password attempt. Pure; times are milliseconds.

Guessing is slowed down, and no account is ever locked: docs/decisions/0012 explains each delay.
"""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

import msgspec

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
MOST_KEPT: Final = 50_000
"""Counts in memory; beyond that the oldest are dropped."""


class Counted(StrEnum):
    """The keys by which failures are counted."""

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
    # A browser in which this person has logged in before; no other count applies to it.
    Counted.DEVICE: Slowing(10, 1_000, 30_000, _HOUR),
    # One name from one address: a guesser, or a person who has forgotten the password.
    Counted.PAIR: Slowing(5, 1_000, 5 * _MINUTE, _HOUR),
    # Many names from one address. A whole site may share one address, so the delay stays short.
    Counted.ADDRESS: Slowing(50, 1_000, 10_000, 15 * _MINUTE),
    # One name from many addresses (NIST SP 800-63B: at most 100 failures in a row without a limit).
    Counted.ACCOUNT: Slowing(100, 1_000, 10_000, 24 * _HOUR),
    # Right passwords of one account, from anywhere: each costs a tenth of a second of CPU and several rows.
    Counted.SUCCESS: Slowing(100, 1_000, 30_000, 15 * _MINUTE),
}
Key = tuple[Counted, str]


class Attempt(NamedTuple):
    """An attempt: account and address; `device` is set if the browser is known to be this person's."""

    username: str
    address: str
    device: str | None

    def counted_by(self) -> list[Key]:
        """Keys by which its failure is counted."""
        if self.device is not None:
            return [(Counted.DEVICE, self.device)]
        place = network_of(self.address)
        return [
            (Counted.PAIR, f"{self.username} {place}"),
            (Counted.ADDRESS, place),
            (Counted.ACCOUNT, self.username),
        ]

    def slowed_by(self) -> list[Key]:
        """Keys that may delay it."""
        return [*self.counted_by(), self.success()]

    def success(self) -> Key:
        """Keys by which its success is counted."""
        return Counted.SUCCESS, self.username


def account_of(key: Key) -> str:
    """The user name of the key; "" if it is for an address or a browser only."""
    kind, text = key
    if kind is Counted.PAIR:
        return text.rpartition(" ")[0]  # an invented name may contain blanks
    return text if kind in {Counted.ACCOUNT, Counted.SUCCESS} else ""


def network_of(address: str) -> str:
    """The address for counting: of IPv6 the first 64 bits, because a client has a whole /64 network."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(found) >> 64 << 64)) if isinstance(found, IPv6Address) else str(found)


class Throttle:
    """The counts. An attempt is counted before its password is checked, so that concurrent attempts all count."""

    def __init__(self) -> None:
        self._failures: dict[Key, tuple[int, int]] = {}
        """Key -> number, and time of the last one."""

    def wait(self, attempt: Attempt, now: int) -> int:
        """Milliseconds until the next attempt is checked; 0: now."""
        return max(0, *(self._due_at(key, now) - now for key in attempt.slowed_by()))

    def count(self, attempt: Attempt, now: int) -> None:
        """Count an attempt that is being checked."""
        for key in attempt.counted_by():
            self._count(key, now)

    def forgive(self, attempt: Attempt, now: int) -> dict[Key, int]:
        """Remove the counts that can be this person's own failures after a success, and count the success.

        The counts of the browser and of the pair of name and address are cleared. The account loses only the counts
        from this address, as NIST SP 800-63B (5.2.2) says: attempts from elsewhere stay. The address loses this one
        attempt: attempts at other accounts stay.

        Returns:
            Key -> number of removed counts.
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
        self._failures.pop(key, None)  # keeps the dictionary in the order of age
        self._failures[key] = (before + 1, now)
        while len(self._failures) > MOST_KEPT:
            del self._failures[next(iter(self._failures))]

    def set(self, key: Key, count: int, at: int) -> None:
        """Set the counts of all services."""
        self._failures.pop(key, None)
        if count:
            self._failures[key] = (count, at)

    def forget_account(self, username: str) -> None:
        """Clear the counts of an account after a reset by an administrator."""
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
