"""The JSON about people: logging in, one's own account, everybody's accounts, and the tokens of machines."""

from datetime import datetime
from typing import Annotated

import msgspec

from gateway.api.http.bodies import Texts
from gateway.people.permissions import Permission, Role

Secret = Annotated[str, msgspec.Meta(max_length=1000)]
Username = Annotated[str, msgspec.Meta(max_length=100)]
SiteCode = Annotated[str, msgspec.Meta(max_length=64)]


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is that of the second factor, or a recovery code, where the account asks for one."""

    username: Username
    password: Secret
    code: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Me(msgspec.Struct, frozen=True):
    """Who is asking. `roles` maps a site's code, or "*" for all, to the roles held there."""

    id: str
    username: str
    name: Texts
    roles: dict[str, list[str]]
    permissions: list[str]
    """What I may do, on some site at least: what I may not, a page need not offer."""
    account: bool
    """False for the local person of a service without accounts, and for a machine: there is nothing to log out of."""
    demo: bool
    """True while the service runs the demo: every page says so."""
    password_length: int
    """The fewest characters of a password here."""
    password_temporary: bool = False
    """Somebody else has chosen my password: I should choose one of my own."""
    second_factor: bool = False


class LoginBody(msgspec.Struct, frozen=True):
    """One login. `current` is the one that asks. `agent` is what the browser calls itself."""

    id: str
    created_at: datetime
    last_used_at: datetime
    origin: str
    agent: str
    current: bool


class ChoosePassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ends every other login."""

    old: Secret
    new: Secret


class OwnPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password once more, before something that whoever finds an open browser must not do."""

    password: Secret


class SecondFactorBody(msgspec.Struct, frozen=True):
    """`secret` for typing, `address` (otpauth), and that as a QR code. Asked for once a code has confirmed it."""

    secret: str
    address: str
    image: str
    """SVG as a data address, made here: no other service ever sees the secret."""


class ConfirmCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: Annotated[str, msgspec.Meta(max_length=64)]


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Shown once. Each lets in once, where the phone is lost."""

    codes: list[str]


class RoleGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role on a site, or on all ("*")."""

    site: SiteCode
    role: Role


class PersonBody(msgspec.Struct, frozen=True):
    """Somebody's account. `version` rises with each change: send it back to act."""

    id: str
    username: str
    name: Texts
    roles: dict[str, list[str]]
    disabled: bool
    second_factor: bool
    password_temporary: bool
    created_at: datetime
    last_seen: datetime | None
    version: int


class AddPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password is one to begin with: tell it to the person, who should choose another."""

    username: Username
    name: Texts
    password: Secret
    roles: Annotated[list[RoleGrant], msgspec.Meta(max_length=200)] = []


class PersonAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the account has changed since, the answer is 409."""

    version: int


class ResetPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `second_factor` that is taken away too."""

    version: int
    password: Secret
    second_factor: bool = False


class ChangeRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    site: SiteCode
    role: Role


class TokenBody(msgspec.Struct, frozen=True):
    """A machine's token, without its secret."""

    id: str
    name: str
    sites: list[str]
    permissions: list[Permission]
    created_at: datetime
    created_by: Texts
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class AddToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sites` may hold "*"; `acts` are names of permissions; good for `days` days."""

    name: str
    sites: Annotated[list[SiteCode], msgspec.Meta(max_length=200)]
    permissions: Annotated[list[Permission], msgspec.Meta(max_length=100)]
    days: int = 365


class FreshToken(msgspec.Struct, frozen=True):
    """`secret` is shown once: `Authorization: Bearer SECRET`."""

    token: TokenBody
    secret: str
