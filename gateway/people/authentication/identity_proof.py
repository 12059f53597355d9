"""The door for single sign-on: what proves who somebody is.

A proof only names the account; opening the login, its cookie, its lifetime and its audit row are the same for every
proof. Passwords are the one that exists; a company's identity provider (OpenID Connect) would be another.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.authentication.throttle import Attempt


class Refusal(StrEnum):
    """Why somebody is not let in."""

    WRONG = "bad_credentials"
    CODE_NEEDED = "second_factor_needed"
    CODE_WRONG = "second_factor_wrong"
    SLOWED = "too_many_attempts"


class LoginRefused(Exception):
    """Not let in; `wait_ms` says when to try again, where that is the reason."""

    def __init__(self, reason: Refusal, wait_ms: int = 0) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.wait_ms = wait_ms


class Claim(NamedTuple):
    """What somebody gives to prove who they are."""

    username: str
    secret: str
    code: str = ""
    """Of the second factor, or a recovery code."""


class Proven(NamedTuple):
    """Whose account a claim is, and `stamp`: the state of the credentials that the claim was checked against."""

    id: str
    stamp: str


class IdentityProof(Protocol):
    """Finds out whose account a claim is."""

    async def prove(self, claim: Claim, attempt: Attempt, now: int) -> Proven:
        """The account, as of the moment at which its credentials were read.

        Raises:
            LoginRefused: it is not proved.
            TooManyLogins: the machine has no room to look at it now.
        """
        ...

    async def require_unchanged(self, connection: AsyncConnection, proven: Proven) -> None:
        """Check in the transaction that acts on a proof that it still holds.

        Checking a password takes long; meanwhile it may have been reset, or the account disabled or forgotten.

        Raises:
            LoginRefused: the account or its credentials have changed since `prove`.
        """
        ...
