"""Who can log in. In this version: the demo's accounts, or nobody and one local person on loopback."""

import secrets
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from gateway.people.permissions import ALL_SITES, Grants, Role

LOGIN_LIFETIME_MS: Final = 12 * 3600 * 1000
DEMO_PASSWORD: Final = "gengfu-demo"  # noqa: S105 - printed on the screen, good on 127.0.0.1 only
_ROLE_NAMES: Final[Mapping[Role, str]] = {
    Role.OPERATOR: "消控室值班员",
    Role.SHIFT_LEADER: "班长",
    Role.GUARD: "秩序维护员",
    Role.ENGINEER: "工程维修人员",
    Role.CUSTOMER_SERVICE: "客服",
    Role.CONTRACTOR: "维保单位",
    Role.MANAGER: "项目经理",
    Role.ADMIN: "管理员",
    Role.VIEWER: "查看",
}


class Person(msgspec.Struct, frozen=True):
    """Somebody who is logged in."""

    id: str
    username: str
    name: dict[str, str]
    grants: Grants


class Accounts(Protocol):
    """How people get in."""

    demo: bool
    present: bool
    """Whether there are accounts at all."""

    def log_in(self, username: str, password: str, now: int) -> tuple[Person, str] | None:
        """The person and the cookie's value, or None where name or password is wrong."""

    def log_out(self, token: str) -> None:
        """Forget a cookie."""

    def whose(self, token: str | None, now: int) -> Person | None:
        """Whose cookie this is."""

    def name_of(self, identity: str) -> dict[str, str]:
        """A person's name in both languages, or that of the part of the platform that acted; else the id itself."""


class DemoAccounts:
    """One account a role, named as the role, all with the password that the demo prints. Kept in memory."""

    demo = True
    present = True

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._hash = self._hasher.hash(DEMO_PASSWORD)
        self._people = {role.value: _demo_person(role) for role in Role}
        self._logins: dict[str, tuple[Person, int]] = {}

    def log_in(self, username: str, password: str, now: int) -> tuple[Person, str] | None:
        person = self._people.get(username)
        try:
            self._hasher.verify(self._hash, password)
        except VerifyMismatchError:
            return None
        if person is None:
            return None
        token = secrets.token_urlsafe(32)
        self._logins = {key: login for key, login in self._logins.items() if login[1] > now}
        self._logins[token] = (person, now + LOGIN_LIFETIME_MS)
        return person, token

    def log_out(self, token: str) -> None:
        self._logins.pop(token, None)

    def name_of(self, identity: str) -> dict[str, str]:
        person = self._people.get(identity.removeprefix("demo:"))
        return person.name if person else name_of_part(identity)

    def whose(self, token: str | None, now: int) -> Person | None:
        person, ends_at = self._logins.get(token or "", (None, 0))
        return person if ends_at > now else None


class LocalPerson:
    """Until accounts exist, `serve` answers on loopback only, and whoever is on this machine is this person."""

    demo = False
    present = False

    def __init__(self) -> None:
        everything = {ALL_SITES: tuple(Role)}
        self._person = Person("local", "local", {"en": "This machine", "zh-CN": "本机"}, everything)

    def log_in(self, username: str, password: str, now: int) -> tuple[Person, str] | None:
        return None

    def log_out(self, token: str) -> None:
        return None

    def whose(self, token: str | None, now: int) -> Person | None:
        return self._person

    def name_of(self, identity: str) -> dict[str, str]:
        return self._person.name if identity == self._person.id else name_of_part(identity)


def name_of_part(identity: str) -> dict[str, str]:
    """What acted by itself is the platform; which part of it stands in the audit."""
    if identity.startswith("system:"):
        return {"en": "Gengfu", "zh-CN": "更夫系统"}
    return {"en": identity, "zh-CN": identity}


def _demo_person(role: Role) -> Person:
    name = {"en": role.value.replace("_", " ").capitalize(), "zh-CN": _ROLE_NAMES[role]}
    return Person(f"demo:{role}", role.value, name, {ALL_SITES: (role,)})
