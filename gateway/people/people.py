"""Creates accounts, logins, tokens and what they share."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from gateway.people.accounts import Accounts, new_row
from gateway.people.approvals.requests import Approvals
from gateway.people.approvals.rules import ApprovalRules
from gateway.people.audit.entry import Cause
from gateway.people.authentication.logins import Logins
from gateway.people.authentication.second_factor import SecondFactors
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.authentication.shared_throttle import SharedThrottle
from gateway.people.authentication.tokens import Tokens
from gateway.people.forgetting import forget_person
from gateway.people.passwords.hashes import PasswordHashes
from gateway.people.passwords.passwords import Passwords
from gateway.people.permissions import Role
from gateway.storage.database import Database

DEMO_PASSWORD: Final = "gengfu-demo"  # noqa: S105 - printed on the screen, good on 127.0.0.1 only
_DEMO_NAMES: Final[dict[Role, str]] = {
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


class People(NamedTuple):
    """The services about people, for the API and the commands."""

    accounts: Accounts
    logins: Logins
    passwords: Passwords
    second_factors: SecondFactors
    tokens: Tokens
    hashes: PasswordHashes
    approvals: Approvals
    throttle: SharedThrottle
    forget: Callable[[str, Cause, int], Awaitable[list[str]]]
    """See `forgetting.py`."""


def make_people(
    database: Database, least: int, seal: SecretSeal, *, demo: bool, approval_rules: ApprovalRules | None = None
) -> People:
    """Create the services; `least` is the minimum length of a password. Call `hashes.close()` at the end."""
    hashes, throttle = PasswordHashes(), SharedThrottle(database)
    accounts = Accounts(database, hashes, throttle, least, demo=demo)
    passwords = Passwords(database, hashes, throttle, seal, demo=demo)
    logins = Logins(database, accounts, passwords)
    approvals = Approvals(database, approval_rules or ApprovalRules(), demo=demo)
    return People(
        accounts, logins, passwords, SecondFactors(database, seal), Tokens(database, accounts), hashes, approvals,
        throttle, partial(forget_person, database, accounts),
    )  # fmt: skip


async def enter_demo_people(people: People, now: int, password_hash: str | None = None) -> None:
    """One account per role, named after the role, all with the password that the demo prints."""
    hashed = password_hash or await people.hashes.make(DEMO_PASSWORD)
    rows = [new_row(f"demo:{role}", role.value, _demo_name(role), hashed, now, demo=True) for role in Role]
    await people.accounts.enter_demo(rows, [(f"demo:{role}", role) for role in Role], now)


def _demo_name(role: Role) -> dict[str, str]:
    return {"en": role.value.replace("_", " ").capitalize(), "zh-CN": _DEMO_NAMES[role]}
