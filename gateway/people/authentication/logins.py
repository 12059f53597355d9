"""Logins: finding the person of a cookie or a token, creating logins, ending them.

Cookies and tokens have 256 random bits, and only their SHA-256 is stored. Data from the database is cached for a
second; changes of this process invalidate the cache at once. So a login that ends in any process is over everywhere a
second later.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.accounts import LOCAL_ID, LOCAL_NAME, Accounts, Person, normalised_username
from gateway.people.audit.entry import CLOCK, Cause, Via, audited
from gateway.people.authentication.identity_proof import Claim, IdentityProof, Proven
from gateway.people.authentication.lifetimes import ends_at
from gateway.people.authentication.login_rows import digest_of, end_surplus_logins, forget_surplus_devices
from gateway.people.authentication.throttle import Attempt
from gateway.people.authentication.tokens import read_tokens, write_token_use
from gateway.people.permissions import ALL_SITES, Role
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.identity import new_id
from gateway.storage.queries.chunked_writes import ChunkedWrites, delete_some
from gateway.storage.records import AuditRow
from gateway.storage.tables import known_device, login, person, role_grant
from gateway.storage.transaction import Transaction
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

_BELIEVED_MS: Final = 1_000
_DEVICES: Final = 100
"""Known browsers of one person; beyond that, the least recently used ones are forgotten."""
_GRACE_MS: Final = 30_000
"""How long the cookie before a rotation stays valid: requests under way carry it."""
_REMEMBERED: Final = 20_000
_KEEP_EVERY_S: Final = 10
_FORGET_EVERY_S: Final = 3_600
_AT_ONCE: Final = 500


class Way(StrEnum):
    """Kinds of logins."""

    COOKIE = "cookie"
    TOKEN = "token"  # noqa: S105 - the name of a way
    LOCAL = "local"


class Session(msgspec.Struct, frozen=True):
    """A person with a valid login, or a machine with a valid token. `ends_at` in epoch milliseconds."""

    person: Person
    way: Way
    digest: str
    login: str
    """The login's or the token's id, "" for the local person."""
    ends_at: int
    rotate: bool = False


class ClientInfo(msgspec.Struct, frozen=True):
    """The origin of a login: address, User-Agent, and the cookie of a known device."""

    address: str
    agent: str = ""
    device: str = ""


class Entered(msgspec.Struct, frozen=True):
    """A new login: its cookie, and that of the device."""

    session: Session
    cookie: str
    device: str


class LoginRecord(msgspec.Struct, frozen=True):
    """A login as shown to its person."""

    id: str
    created_at: int
    last_used_at: int
    origin: str
    agent: str


class NoSuchLogin(Exception):
    """It has ended, or never existed."""


_LOCAL: Final = Session(
    Person(LOCAL_ID, LOCAL_ID, LOCAL_NAME, {ALL_SITES: tuple(Role)}), Way.LOCAL, "", "", 2**62
)  # fmt: skip


class Logins:
    """Creates, finds and ends logins."""

    def __init__(self, database: Database, accounts: Accounts, proof: IdentityProof) -> None:
        self._database = database
        self._accounts = accounts
        self._proof = proof
        self._believed: dict[str, tuple[Session, int, int]] = {}
        """Digest -> state of the login, when it was read, and the number of account changes then."""
        self._used: dict[str, int] = {}
        """Login's or token's id -> last use that is not written to the database yet."""

    # -- finding ---------------------------------------------------------------------------------------

    async def whose(self, secret: str, way: Way, now: int) -> Session | None:
        """The person or machine of a cookie or a token; None for "" and for an ended one."""
        if not secret:
            return None
        digest = digest_of(secret)
        if not self._is_believed(digest, now):
            await self._read([digest], way, now)
        return self._session(digest, way, now)

    def local(self) -> Session | None:
        """The local person: anyone on this machine, until the first account exists."""
        return None if self._accounts.present or self._accounts.demo else _LOCAL

    async def still(self, sessions: Collection[Session], now: int) -> dict[str, Session]:
        """The logins that are still valid, by digest, with their current permissions; one query for all listeners."""
        found: dict[str, Session] = {}
        for way in (Way.COOKIE, Way.TOKEN):
            digests = list({one.digest for one in sessions if one.way is way})
            stale = [digest for digest in digests if not self._is_believed(digest, now)]
            for start in range(0, len(stale), _AT_ONCE):
                await self._read(stale[start : start + _AT_ONCE], way, now)
            found |= {digest: one for digest in digests if (one := self._session(digest, way, now)) is not None}
        local = self.local()
        return found if local is None else {**found, "": local}

    def is_known(self, secret: str) -> bool:
        """Whether this cookie or token was valid a moment ago."""
        return bool(secret) and digest_of(secret) in self._believed

    def note_use(self, session: Session, now: int) -> None:
        """Record a use of the login for its idle timeout. Messages of the live feed do not count."""
        if session.login:
            self._used[session.login] = now

    def _is_believed(self, digest: str, now: int) -> bool:
        _, read_at, changes = self._believed.get(digest, (None, 0, -1))
        return changes == self._accounts.changes and 0 <= now - read_at < _BELIEVED_MS

    def _session(self, digest: str, way: Way, now: int) -> Session | None:
        session = self._believed.get(digest, (None, 0, 0))[0]
        return session if session is not None and session.way is way and session.ends_at > now else None

    async def _read(self, digests: list[str], way: Way, now: int) -> None:
        changes = self._accounts.changes
        async with self._database.reading() as connection:
            if way is Way.TOKEN:
                found = await self._read_tokens(connection, digests, now)
            else:
                found = await self._read_logins(connection, digests, now)
        for digest in digests:
            self._believed.pop(digest, None)
            if digest in found:
                self._believed[digest] = found[digest], now, changes
        while len(self._believed) > _REMEMBERED:
            del self._believed[next(iter(self._believed))]

    def _disbelieve(self, which: str) -> None:
        """Read a login again, by its current or its previous cookie."""
        self._believed = {digest: kept for digest, kept in self._believed.items() if kept[0].login != which}

    async def _read_tokens(self, connection: AsyncConnection, digests: list[str], now: int) -> dict[str, Session]:
        rows = await read_tokens(connection, digests, now, demo=self._accounts.demo)
        return {
            token.digest: Session(
                Person(token.id, token.name, {"en": token.name, "zh-CN": token.name}, token.grants),
                Way.TOKEN, token.digest, token.id, token.expires_at,
            )
            for token in rows
        }  # fmt: skip

    async def _read_logins(self, connection: AsyncConnection, digests: list[str], now: int) -> dict[str, Session]:
        before = and_(login.c.previous_digest.in_(digests), login.c.previous_until > now)
        rows = await _logins_where(connection, or_(login.c.digest.in_(digests), before), demo=self._accounts.demo)
        found: dict[str, Session] = {}
        for row, grants in rows:
            who = Person(row["person"], row["username"], row["name"], grants)
            used_at = max(row["last_used_at"], self._used.get(row["id"], 0))
            until = ends_at({role for roles in grants.values() for role in roles}, row["created_at"], used_at)
            for digest in {row["digest"], row["previous_digest"]} & set(digests):
                rotate = row["rotate"] and digest == row["digest"]
                found[digest] = Session(who, Way.COOKIE, digest, row["id"], until, rotate)
        return found

    # -- creating --------------------------------------------------------------------------------------

    async def log_in(self, claim: Claim, place: ClientInfo, replaces: Session | None, now: int) -> Entered:
        """Log a person in with a new cookie; the browser's previous login ends.

        Raises:
            LoginRefused: see `identity_proof.py`.
            TooManyLogins: the queue of password checks is full.
        """
        proven = await self._proof.prove(claim, await self.attempt(claim.username, place), now)
        return await self._open(proven, place, replaces, now)

    async def attempt(self, username: str, place: ClientInfo) -> Attempt:
        """A login attempt, with the device if it is known to be this person's."""
        name, digest = normalised_username(username), digest_of(place.device)
        statement = (
            select(person.c.id)
            .join(known_device, known_device.c.person == person.c.id)
            .where(person.c.username == name, person.c.demo == self._accounts.demo, known_device.c.digest == digest)
        )
        async with self._database.reading() as connection:
            known = (await connection.execute(statement)).first() is not None
        return Attempt(name, place.address, f"{digest} {name}" if known else None)

    async def _open(self, proven: Proven, place: ClientInfo, replaces: Session | None, now: int) -> Entered:
        identity = proven.id
        cookie = secrets.token_urlsafe(32)
        which = new_id(now)
        row = {
            "id": which,
            "digest": digest_of(cookie),
            "previous_digest": None,
            "previous_until": None,
            "rotate": False,
            "person": identity,
            "origin": place.address[:64],
            "agent": "".join(filter(str.isprintable, place.agent))[:200],
            "created_at": now,
            "last_used_at": now,
        }
        cause = Cause(identity, Via.WEB, origin=place.address[:64])
        async with self._database.transaction() as transaction:
            await self._proof.require_unchanged(transaction, proven)
            await transaction.execute(insert(login).values(**row))
            await transaction.execute(update(person).where(person.c.id == identity).values(last_seen_at=now))
            device = await _know_device(transaction, place.device, identity, now)
            transaction.add_audit(_record(now, cause, "login.begin", which))
            if replaces is not None and replaces.way is Way.COOKIE:
                await transaction.execute(delete(login).where(login.c.id == replaces.login))
                transaction.add_audit(_record(now, cause, "login.end", replaces.login))
            ended = await end_surplus_logins(transaction, identity, which)
            transaction.add_audit(*(_record(now, cause, "login.end", one) for one in ended))
            await forget_surplus_devices(transaction, identity)
        for one in (*ended, *((replaces.login,) if replaces is not None else ())):
            self._disbelieve(one)
        session = await self.whose(cookie, Way.COOKIE, now)
        if session is None:
            raise NoSuchLogin("the account has just been disabled")
        return Entered(session, cookie, device)

    async def rotate(self, session: Session, now: int) -> str | None:
        """A new cookie for a login after a change of roles; None if another request was first."""
        cookie = secrets.token_urlsafe(32)
        async with self._database.transaction() as connection:
            rotated = await connection.execute(
                update(login)
                .where(login.c.id == session.login, login.c.digest == session.digest, login.c.rotate.is_(True))
                .values(
                    digest=digest_of(cookie), previous_digest=session.digest, previous_until=now + _GRACE_MS,
                    rotate=False,
                )
            )  # fmt: skip
        self._disbelieve(session.login)
        return cookie if rotated.rowcount else None

    async def renew(self, session: Session) -> str | None:
        """A new cookie for a login that continues, as after a new password; the previous one is invalid at once."""
        cookie = secrets.token_urlsafe(32)
        async with self._database.transaction() as connection:
            renewed = await connection.execute(
                update(login)
                .where(login.c.id == session.login)
                .values(digest=digest_of(cookie), previous_digest=None, previous_until=None, rotate=False)
            )
        self._disbelieve(session.login)
        return cookie if renewed.rowcount else None

    # -- ending ----------------------------------------------------------------------------------------

    async def end(self, session: Session, cause: Cause, now: int) -> None:
        """Log out."""
        await self.revoke(session.person.id, session.login, cause, now)

    async def of_person(self, identity: str, now: int) -> list[LoginRecord]:
        """A person's valid logins, newest first."""
        async with self._database.reading() as connection:
            rows = await _logins_where(connection, login.c.person == identity, demo=self._accounts.demo)
        session = [row for row, grants in rows if self._ends_at(row, grants) > now]
        records = [
            LoginRecord(row["id"], row["created_at"], max(row["last_used_at"], self._used.get(row["id"], 0)),
                        row["origin"], row["agent"])
            for row in session
        ]  # fmt: skip
        return sorted(records, key=lambda record: (record.created_at, record.id), reverse=True)

    async def revoke(self, identity: str, which: str, cause: Cause, now: int) -> None:
        """End one login of a person. Raises NoSuchLogin."""
        async with self._database.transaction() as transaction:
            ended = await transaction.execute(delete(login).where(login.c.id == which, login.c.person == identity))
            if ended.rowcount == 0:
                raise NoSuchLogin("there is no such login; it may have ended already")
            transaction.add_audit(_record(now, cause, "login.end", which))
        self._disbelieve(which)

    # -- in the background -----------------------------------------------------------------------------

    async def run(self, clock: Callable[[], int]) -> None:
        """Write uses, delete ended logins, read changes of other processes, until cancelled."""
        for second in itertools.count(1):
            await asyncio.sleep(1)
            try:
                await self._accounts.refresh()
                if second % _KEEP_EVERY_S == 0:
                    await self.keep_uses()
                if second % _FORGET_EVERY_S == 1:
                    await self.forget_ended(clock())
            except DatabaseTrouble as error:
                log.warning(
                    "logins cannot be updated: the database does not respond",
                    why=in_plain_words(error),
                    detail=str(error),
                )

    async def keep_uses(self) -> None:
        """Write when logins and tokens were used last."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._database.transaction() as connection:
                for identity, at in used.items():
                    if identity.startswith("token:"):
                        await write_token_use(connection, identity, at)
                        continue
                    await connection.execute(update(login).where(login.c.id == identity).values(last_used_at=at))
                    whose = select(login.c.person).where(login.c.id == identity).scalar_subquery()
                    await connection.execute(update(person).where(person.c.id == whose).values(last_seen_at=at))
        except DatabaseTrouble:
            self._used = used | self._used
            raise

    async def forget_ended(self, now: int) -> None:
        """Remove expired logins."""
        async with self._database.reading() as connection:
            rows = await _logins_where(connection, login.c.created_at <= now, demo=self._accounts.demo)
        ended = [row["id"] for row, grants in rows if self._ends_at(row, grants) <= now]
        writes = ChunkedWrites(self._database)
        while ended:
            some, ended = ended[: writes.rows], ended[writes.rows :]
            async with writes.transaction() as transaction:
                await self._remove_ended(transaction, some, now)

    async def _remove_ended(self, transaction: Transaction, identities: list[str], now: int) -> None:
        """Remove those that are still expired: one may have been used since they were read."""
        rows = await _logins_where(transaction, login.c.id.in_(identities), demo=self._accounts.demo)
        ended = [row["id"] for row, grants in rows if self._ends_at(row, grants) <= now]
        await transaction.execute(delete(login).where(login.c.id.in_(ended)))
        transaction.add_audit(*(_record(now, CLOCK, "login.end", which) for which in ended))

    def _ends_at(self, row: Any, grants: dict[str, list[Role]]) -> int:
        roles = {role for held in grants.values() for role in held}
        return ends_at(roles, row["created_at"], max(row["last_used_at"], self._used.get(row["id"], 0)))


async def _logins_where(connection: AsyncConnection, condition: Any, *, demo: bool) -> list[tuple[Any, Any]]:
    """Logins of enabled people, each with its person's roles."""
    statement = (
        select(login, person.c.username, person.c.name, role_grant.c.site, role_grant.c.role)
        .join(person, person.c.id == login.c.person)
        .outerjoin(role_grant, role_grant.c.person == person.c.id)
        .where(condition, person.c.demo == demo, person.c.disabled_at.is_(None))
    )
    rows: dict[str, tuple[Any, dict[str, list[Role]]]] = {}
    for row in (await connection.execute(statement)).mappings():
        _, grants = rows.setdefault(row["id"], (row, {}))
        if row["role"] is not None:
            grants.setdefault(row["site"], []).append(Role(row["role"]))
    return list(rows.values())


async def _know_device(connection: AsyncConnection, before: str, identity: str, now: int) -> str:
    """Record the browser as known. Several people may share one; its cookie is always one of ours."""
    digest = digest_of(before)
    there = set(
        (await connection.execute(select(known_device.c.person).where(known_device.c.digest == digest))).scalars()
    )
    device = before if there else secrets.token_urlsafe(32)
    row = {"digest": digest_of(device), "person": identity, "last_used_at": now}
    if identity in there:
        same = (known_device.c.digest == digest) & (known_device.c.person == identity)
        await connection.execute(update(known_device).where(same).values(last_used_at=now))
    else:
        await connection.execute(insert(known_device).values(**row))
        mine = known_device.c.person == identity
        newest = select(known_device.c.last_used_at).where(mine).order_by(known_device.c.last_used_at.desc())
        surplus = known_device.c.last_used_at < newest.offset(_DEVICES - 1).limit(1).scalar_subquery()
        await delete_some(connection, known_device, mine & surplus, _DEVICES)
    return device


def _record(now: int, cause: Cause, act: str, which: str) -> AuditRow:
    return audited(now, ALL_SITES, cause, act, f"login:{which}", None, None)
