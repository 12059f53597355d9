"""The JSON of people: login, one's own account, all accounts, and tokens of machines."""

from datetime import datetime
from typing import Annotated

import msgspec

from gateway.api.http.bodies import Texts
from gateway.people.permissions import Permission, Role

Secret = Annotated[str, msgspec.Meta(max_length=1000)]
Username = Annotated[str, msgspec.Meta(max_length=100)]
SiteCode = Annotated[str, msgspec.Meta(max_length=64)]


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is a second-factor code or a recovery code, if the account requires one."""

    username: Username
    password: Secret
    code: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Me(msgspec.Struct, frozen=True):
    """The caller. `roles` maps a site's code, or "*" for all, to the roles held there."""

    id: str
    username: str
    name: Texts
    roles: dict[str, list[str]]
    permissions: list[str]
    """Permissions that the caller holds on at least one site; a page need not offer other actions."""
    account: bool
    """False for the local person of a service without accounts, and for a machine: they have no login to end."""
    demo: bool
    """True while the service runs the demo: every page shows it."""
    password_length: int
    """The minimum length of a password."""
    password_temporary: bool = False
    """The password was set by somebody else and should be changed."""
    second_factor: bool = False


class LoginBody(msgspec.Struct, frozen=True):
    """One login. `current` is the caller's. `agent` is the browser's User-Agent."""

    id: str
    created_at: datetime
    last_used_at: datetime
    origin: str
    agent: str
    current: bool


class ChoosePassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes the password and ends every other login."""

    old: Secret
    new: Secret


class OwnPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password again, before an action that a stranger at an open browser must not take."""

    password: Secret


class SecondFactorBody(msgspec.Struct, frozen=True):
    """`secret` to type, `address` (otpauth), and that as a QR code. In force once a code has confirmed it."""

    secret: str
    address: str
    image: str
    """SVG as a data URL, made here, so that no other service sees the secret."""


class ConfirmCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: Annotated[str, msgspec.Meta(max_length=64)]


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Shown once. Each permits one login without the phone."""

    codes: list[str]


class RoleGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role on a site, or on all ("*")."""

    site: SiteCode
    role: Role


class PersonBody(msgspec.Struct, frozen=True):
    """An account. `version` rises with each change: send it back to act."""

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
    """The password is an initial one: hand it to the person, who should change it."""

    username: Username
    name: Texts
    password: Secret
    roles: Annotated[list[RoleGrant], msgspec.Meta(max_length=200)] = []


class PersonAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the account has changed since, the answer is 409."""

    version: int


class ResetPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `second_factor` the second factor is removed too."""

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
    """`sites` may hold "*"; `permissions` are their names; valid for `days` days."""

    name: str
    sites: Annotated[list[SiteCode], msgspec.Meta(max_length=200)]
    permissions: Annotated[list[Permission], msgspec.Meta(max_length=100)]
    days: int = 365


class FreshToken(msgspec.Struct, frozen=True):
    """`secret` is shown once: `Authorization: Bearer SECRET`."""

    token: TokenBody
    secret: str
