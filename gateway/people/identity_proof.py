"""The door for single sign-on: what proves who somebody is.

A proof only names the account; opening the login, its cookie, its lifetime and its audit row are the same for every
proof. Passwords are the one that exists; a company's identity provider (OpenID Connect) would be another.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.people.throttle import Attempt


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


class IdentityProof(Protocol):
    """Finds out whose account a claim is."""

    async def prove(self, claim: Claim, attempt: Attempt, now: int) -> str:
        """The account's id.

        Raises:
            LoginRefused: it is not proved.
            TooManyLogins: the machine has no room to look at it now.
        """
        ...
