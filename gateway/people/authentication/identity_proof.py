"""Interface of identity proofs, which permits single sign-on.

A proof only names the account; creating the login, its cookie, its lifetime and its audit row are the same for every
proof. Passwords are the only implementation; a company's identity provider (OpenID Connect) would be another.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.authentication.throttle import Attempt


class Refusal(StrEnum):
    """Why a login is refused."""

    WRONG = "bad_credentials"
    CODE_NEEDED = "second_factor_needed"
    CODE_WRONG = "second_factor_wrong"
    SLOWED = "too_many_attempts"


class LoginRefused(Exception):
    """The login is refused; `wait_ms` is the time until the next attempt, if that is the reason."""

    def __init__(self, reason: Refusal, wait_ms: int = 0) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.wait_ms = wait_ms


class Claim(NamedTuple):
    """Credentials of a login attempt."""

    username: str
    secret: str
    code: str = ""
    """Second-factor code or recovery code."""


class Proven(NamedTuple):
    """The account of a claim, and `stamp`: the state of the credentials against which the claim was checked."""

    id: str
    stamp: str


class IdentityProof(Protocol):
    """Determines the account of a claim."""

    async def prove(self, claim: Claim, attempt: Attempt, now: int) -> Proven:
        """The account, as of the time at which its credentials were read.

        Raises:
            LoginRefused: the credentials are not valid.
            TooManyLogins: the queue of password checks is full.
        """
        ...

    async def require_unchanged(self, connection: AsyncConnection, proven: Proven) -> None:
        """Check in the transaction that acts on a proof that it still holds.

        Checking a password takes long; meanwhile it may have been reset, or the account disabled or forgotten.

        Raises:
            LoginRefused: the account or its credentials have changed since `prove`.
        """
        ...
