"""Argon2id in threads: a hash takes a tenth of a second and must not delay alarms.

There are few threads and the queue is short, so a flood of logins is refused, not queued.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.people.passwords.rules import MOST, normalised

_THREADS: Final = 2
"""Each hash takes 64 MiB."""
_MOST_WAITING: Final = 32


class TooManyLogins(Exception):
    """The queue of password checks is full; try again in a moment."""


class PasswordHashes:
    """Creates and checks password hashes."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys = ""

    async def open(self) -> None:
        """Create the hash against which passwords of unknown names are checked."""
        self._nobodys = await self.make("a password that nobody has")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def make(self, password: str) -> str:
        """A hash with a salt of its own. Raises TooManyLogins."""
        return await self._work(password)

    async def is_right(self, hashed: str | None, password: str) -> bool:
        """Whether the password is right; without a hash False, after the same work. Raises TooManyLogins."""
        return await self._check(hashed or self._nobodys, password) and hashed is not None

    async def _work(self, password: str) -> str:
        with self._place():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._hasher.hash, _shortened(password))

    async def _check(self, hashed: str, password: str) -> bool:
        with self._place():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._verify, hashed, _shortened(password))

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """A slot in the queue of the threads."""
        if self._waiting >= _MOST_WAITING:
            raise TooManyLogins(f"{_MOST_WAITING} passwords are waiting to be checked")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


def _shortened(password: str) -> str:
    """Truncated to one character more than the longest password, which is enough to be wrong."""
    return normalised(password)[: MOST + 1]
