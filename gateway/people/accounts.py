"""Accounts and their roles: the rows, and every change of them.

A change and its audit row are one transaction, which also ends the logins that become invalid.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.audit.entry import Cause, Via, audited
from gateway.people.authentication.login_rows import end_logins, mark_for_rotation
from gateway.people.authentication.shared_throttle import SharedThrottle
from gateway.people.passwords.hashes import PasswordHashes
from gateway.people.passwords.rules import Weakness, normalised, weakness_of
from gateway.people.permissions import ALL_SITES, Grants, Role
from gateway.storage.database import Database
from gateway.storage.identity import new_id
from gateway.storage.tables import api_token, known_device, person, recovery_code, role_grant
from gateway.storage.transaction import Transaction

_USERNAME: Final = re.compile(r"[\w.@-]{1,64}")
_SITE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}|\*")
_NAME_LENGTH: Final = 100


class Person(msgspec.Struct, frozen=True):
    """A caller with a login; for a machine the name and the permissions of its token."""

    id: str
    username: str
    name: dict[str, str]
    grants: Grants


class PersonRecord(msgspec.Struct, frozen=True):
    """An account without its secrets. Times are epoch milliseconds."""

    id: str
    username: str
    name: dict[str, str]
    grants: dict[str, list[Role]]
    disabled_at: int | None
    last_seen_at: int | None
    created_at: int
    password_temporary: bool
    second_factor: bool
    version: int


class NewPerson(msgspec.Struct, frozen=True):
    """An account to create. `name` in both languages; roles may be granted with it."""

    username: str
    name: dict[str, str]
    password: str
    grants: Sequence[tuple[str, Role]] = ()


class NoSuchPerson(Exception):
    """There is no account of this name or id."""


class UsernameTaken(Exception):
    """The user name is taken."""


class NotAName(Exception):
    """An invalid user name, name or site; the text says what is valid."""


class StalePerson(Exception):
    """The account has changed since it was read."""


class LastAdministrator(Exception):
    """The change would leave no administrator."""


class WeakPassword(Exception):
    """A password that is refused."""

    def __init__(self, weakness: Weakness, least: int) -> None:
        super().__init__(_WHY[weakness].format(least=least))
        self.weakness = weakness


_WHY: Final[Mapping[Weakness, str]] = {
    Weakness.TOO_SHORT: "use at least {least} characters; a sentence is easy to remember",
    Weakness.TOO_LONG: "use at most 256 characters",
    Weakness.GUESSABLE: "it is easy to guess (common words, names, keys in a row, repetitions): choose another",
}


class Accounts:
    """All accounts of this service. A demo has accounts of its own, which are invalid in a real service."""

    def __init__(
        self, database: Database, hashes: PasswordHashes, throttle: SharedThrottle, least: int, *, demo: bool = False
    ) -> None:
        self.demo = demo
        self.present = False
        """Whether there is an account, as of the last `refresh`."""
        self.changes = 0
        """Rises with each change made in this process: data read before is outdated."""
        self.least = least
        """The minimum length of a password."""
        self._database = database
        self._hashes = hashes
        self._throttle = throttle
        self._names: dict[str, dict[str, str]] = {}
        self._seen: object = None

    # -- reading ---------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read names if something has changed: other processes and commands write too."""
        counts = [select(func.count(), func.max(table.c.created_at)) for table in (person, api_token)]
        statement = select(func.count(), func.max(person.c.updated_at)).where(person.c.demo == self.demo)
        async with self._database.reading() as connection:
            seen = [tuple((await connection.execute(one)).one()) for one in (statement, *counts)]
            if seen == self._seen:
                return
            people = (await connection.execute(select(person.c.id, person.c.name, person.c.demo))).all()
            machines = (await connection.execute(select(api_token.c.id, api_token.c.name))).all()
        self._names = {identity: name for identity, name, _ in people}
        self._names |= {identity: {"en": name, "zh-CN": name} for identity, name in machines}
        self.present = any(demo == self.demo for _, _, demo in people)
        self._seen = seen
        self.changes += 1

    def name_of(self, identity: str) -> dict[str, str]:
        """The name of a person, or of a component of the platform, in both languages; else the id itself."""
        return self._names.get(identity) or _name_of_part(identity)

    async def everyone(self) -> list[PersonRecord]:
        """All accounts, by user name."""
        async with self._database.reading() as connection:
            rows = await _records(connection, person.c.demo == self.demo)
        return sorted(rows, key=lambda row: row.username)

    async def find(self, identity: str) -> PersonRecord:
        """An account by its id. Raises NoSuchPerson."""
        async with self._database.reading() as connection:
            return await self._record(connection, person.c.id == identity)

    async def named(self, username: str) -> PersonRecord:
        """An account by its user name. Raises NoSuchPerson."""
        async with self._database.reading() as connection:
            return await self._record(connection, person.c.username == normalised_username(username))

    async def administrators(self) -> int:
        """Number of people who may log in and manage people on all sites."""
        async with self._database.reading() as connection:
            return len(await administrators(connection, demo=self.demo))

    # -- changes ---------------------------------------------------------------------------------------

    async def add(self, new: NewPerson, cause: Cause, now: int) -> PersonRecord:
        """Create an account.

        Raises:
            NotAName, UsernameTaken, WeakPassword.
        """
        username = _checked_username(new.username)
        _check_name(new.name)
        _check_sites(site for site, _ in new.grants)
        self.check_password(new.password, username, new.name)
        row = new_row(new_id(now), username, new.name, await self._hashes.make(new.password), now, demo=self.demo)
        row["password_temporary"] = cause.via is not Via.COMMAND  # the first person adds their own account
        try:
            async with self._database.transaction() as transaction:
                await transaction.execute(insert(person).values(**row))
                for site, role in dict.fromkeys(new.grants):
                    await transaction.execute(insert(role_grant).values(_grant_row(row["id"], site, role, now)))
                record = await self._record(transaction, person.c.id == row["id"])
                _write_audit(transaction, now, cause, "person.add", None, record)
        except IntegrityError:
            raise UsernameTaken(f"{username} is taken") from None
        await self._changed()
        return record

    async def enter_demo(self, rows: Sequence[dict[str, Any]], grants: Sequence[tuple[str, Role]], now: int) -> None:
        """Create the demo's missing accounts; `grants` pairs ids with roles on all sites."""
        async with self._database.transaction() as connection:
            there = set((await connection.execute(select(person.c.id))).scalars())
            fresh = [row for row in rows if row["id"] not in there]
            if fresh:
                entered = {row["id"] for row in fresh}
                await connection.execute(insert(person), fresh)
                granted = [_grant_row(who, ALL_SITES, role, now) for who, role in grants if who in entered]
                if granted:
                    await connection.execute(insert(role_grant), granted)
        await self._changed()

    async def disable(self, identity: str, version: int, cause: Cause, now: int) -> PersonRecord:
        """Disable an account; all its logins end at once."""
        return await self._change(identity, version, {"disabled_at": now}, "person.disable", cause, now, end=True)

    async def enable(self, identity: str, version: int, cause: Cause, now: int) -> PersonRecord:
        """Enable an account."""
        return await self._change(identity, version, {"disabled_at": None}, "person.enable", cause, now)

    async def reset(
        self, identity: str, version: int, password: str, cause: Cause, now: int, *, second_factor: bool = False
    ) -> PersonRecord:
        """Set a new password for a person, and with `second_factor` remove that too.

        All logins end, and no browser counts as known any more. Raises NoSuchPerson, StalePerson, WeakPassword.
        """
        values = await self._password_values(identity, password, temporary=True)
        if second_factor:
            values |= {"totp_secret": None, "totp_confirmed": False}
        after = await self._change(
            identity, version, values, "person.reset", cause, now, end=True, forget=True, codes=second_factor
        )
        await self._throttle.forget_account(after.username)
        return after

    async def choose_password(self, identity: str, password: str, keep: str, cause: Cause, now: int) -> None:
        """Change one's own password: every login but the current one ends. Raises WeakPassword."""
        values = await self._password_values(identity, password, temporary=False)
        await self._change(identity, None, values, "person.password", cause, now, end=True, keep=keep)

    async def grant(
        self, identity: str, version: int | None, site: str, role: Role, cause: Cause, now: int
    ) -> PersonRecord:
        """Grant a role on a site, or on all ("*"). Raises NoSuchPerson, StalePerson, NotAName."""
        _check_sites([site])

        async def write(connection: AsyncConnection) -> None:
            await _remove_grant(connection, identity, site, role)
            await connection.execute(insert(role_grant).values(_grant_row(identity, site, role, now)))

        return await self._change(identity, version, {}, "person.grant", cause, now, write=write)

    async def revoke(
        self, identity: str, version: int | None, site: str, role: Role, cause: Cause, now: int
    ) -> PersonRecord:
        """Revoke a role. Raises NoSuchPerson, StalePerson, LastAdministrator."""

        async def write(connection: AsyncConnection) -> None:
            await _remove_grant(connection, identity, site, role)

        return await self._change(identity, version, {}, "person.revoke", cause, now, write=write)

    def check_password(self, password: str, username: str, name: dict[str, str]) -> None:
        """Raises WeakPassword."""
        weakness = weakness_of(password, self.least, (username, *name.values()))
        if weakness is not None:
            raise WeakPassword(weakness, self.least)

    # -- implementation --------------------------------------------------------------------------------

    async def _password_values(self, identity: str, password: str, *, temporary: bool) -> dict[str, Any]:
        record = await self.find(identity)
        self.check_password(password, record.username, record.name)
        return {"password_hash": await self._hashes.make(password), "password_temporary": temporary}

    async def _change(
        self, identity: str, version: int | None, values: dict[str, Any], act: str, cause: Cause, now: int, *,
        write: Any = None, end: bool = False, keep: str = "", forget: bool = False, codes: bool = False,
    ) -> PersonRecord:  # fmt: skip
        """Change one account in one transaction. Raises LastAdministrator if none would be left."""
        async with self._database.transaction() as transaction:
            before_it = await administrators(transaction, demo=self.demo)
            before = await self._record(transaction, person.c.id == identity)
            if version not in {None, before.version}:
                raise StalePerson(f"the account is at version {before.version}")
            changed = await transaction.execute(
                update(person)
                .where(person.c.id == identity, person.c.version == before.version)
                .values(**values, version=before.version + 1, updated_at=now)
            )
            if changed.rowcount == 0:
                raise StalePerson("the account has just changed")
            if write is not None:
                await write(transaction)
            after = await self._record(transaction, person.c.id == identity)
            if identity in before_it and not await administrators(transaction, demo=self.demo):
                raise LastAdministrator(f"{before.username} is the last administrator of all sites")
            if after.grants != before.grants:
                await mark_for_rotation(transaction, identity)
            if end:
                await end_logins(transaction, identity, keep)
            for table, wanted in ((known_device, forget), (recovery_code, codes)):
                if wanted:
                    await transaction.execute(delete(table).where(table.c.person == identity))
            _write_audit(transaction, now, cause, act, before, after)
        await self._changed()
        return after

    async def _changed(self) -> None:
        self.changes += 1
        await self.refresh()

    async def _record(self, connection: AsyncConnection, condition: ColumnElement[bool]) -> PersonRecord:
        rows = await _records(connection, condition & (person.c.demo == self.demo))
        if not rows:
            raise NoSuchPerson("there is no such account")
        return rows[0]


async def administrators(connection: AsyncConnection, *, demo: bool) -> set[str]:
    """Ids of people who may log in and manage people on all sites."""
    statement = (
        select(person.c.id)
        .join(role_grant, role_grant.c.person == person.c.id)
        .where(
            person.c.demo == demo,
            person.c.disabled_at.is_(None),
            person.c.password_hash.is_not(None),
            role_grant.c.role == Role.ADMIN.value,
            role_grant.c.site == ALL_SITES,
        )
        # Two administrators who revoke each other's role at once: the second waits, and finds no other one left.
        .with_for_update(of=role_grant)
    )
    return set((await connection.execute(statement)).scalars())


def normalised_username(username: str) -> str:
    """Case-insensitive: phones capitalize the first letter."""
    return normalised(username.strip()).casefold()


def new_row(
    identity: str, username: str, name: dict[str, str], password_hash: str, now: int, *, demo: bool
) -> dict[str, Any]:
    """The row of a new account."""
    return {
        "id": identity,
        "username": username,
        "name": name,
        "password_hash": password_hash,
        "password_temporary": False,
        "totp_secret": None,
        "totp_confirmed": False,
        "totp_step": 0,
        "demo": demo,
        "disabled_at": None,
        "last_seen_at": None,
        "created_at": now,
        "updated_at": now,
        "version": 1,
    }


def _grant_row(identity: str, site: str, role: Role, now: int) -> dict[str, Any]:
    return {"person": identity, "site": site, "role": role.value, "granted_at": now}


async def _remove_grant(connection: AsyncConnection, identity: str, site: str, role: Role) -> None:
    await connection.execute(
        delete(role_grant).where(
            role_grant.c.person == identity, role_grant.c.site == site, role_grant.c.role == role.value
        )
    )


async def _records(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[PersonRecord]:
    rows = (await connection.execute(select(person).where(condition))).mappings().all()
    held = select(role_grant).join(person, person.c.id == role_grant.c.person).where(condition)
    grants: dict[str, dict[str, list[Role]]] = {}
    for grant in (await connection.execute(held.order_by(role_grant.c.site, role_grant.c.role))).mappings():
        grants.setdefault(grant["person"], {}).setdefault(grant["site"], []).append(Role(grant["role"]))
    return [
        PersonRecord(
            id=row["id"],
            username=row["username"],
            name=row["name"],
            grants=grants.get(row["id"], {}),
            disabled_at=row["disabled_at"],
            last_seen_at=row["last_seen_at"],
            created_at=row["created_at"],
            password_temporary=row["password_temporary"],
            second_factor=row["totp_confirmed"],
            version=row["version"],
        )
        for row in rows
    ]


def _write_audit(
    transaction: Transaction, now: int, cause: Cause, act: str, before: PersonRecord | None, after: PersonRecord
) -> None:
    """Names are in the account only, so that a person can be forgotten while the record stays."""
    record = audited(
        now, ALL_SITES, cause, act, f"person:{after.id}", None if before is None else shown(before), shown(after)
    )
    transaction.add_audit(record)


def shown(record: PersonRecord) -> dict[str, Any]:
    """An account as the audit records it."""
    return {
        "grants": {site: [role.value for role in roles] for site, roles in record.grants.items()},
        "disabled": record.disabled_at is not None,
        "second_factor": record.second_factor,
        "version": record.version,
    }


def _checked_username(username: str) -> str:
    found = normalised_username(username)
    if not _USERNAME.fullmatch(found):
        raise NotAName("a user name has 1 to 64 letters, digits and . _ - @")
    return found


def _check_name(name: dict[str, str]) -> None:
    if not all(text.strip() and len(text) <= _NAME_LENGTH and text.isprintable() for text in name.values()):
        raise NotAName(f"a name has 1 to {_NAME_LENGTH} characters")


def _check_sites(sites: Any) -> None:
    if not all(_SITE.fullmatch(site) for site in sites):
        raise NotAName('name a site by its code, or use "*" for all sites')


def _name_of_part(identity: str) -> dict[str, str]:
    """A component that acts by itself is shown as the platform; the audit names the component."""
    if identity == LOCAL_ID:
        return LOCAL_NAME
    if identity.startswith("system:"):
        return {"en": "Gengfu", "zh-CN": "更夫系统"}
    return {"en": identity, "zh-CN": identity}


LOCAL_ID: Final = "local"
LOCAL_NAME: Final = {"en": "This machine", "zh-CN": "本机"}
