"""Requests that need a second person: the rows, and every change of them.

A request is stored as it was sent and carried out by its own route once a second person approves it. The approval is
part of the transaction of the change: both are committed, or neither, and never twice.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Column, ColumnElement, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.accounts import Person
from gateway.people.approvals.rules import ApprovalRules, Verdict, verdict
from gateway.people.audit.entry import CLOCK, Cause, audited
from gateway.people.permissions import ALL_SITES, Grants, Permission, Role, may
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.identity import new_id
from gateway.storage.queries.chunks import in_portions
from gateway.storage.queries.index_use import beside_index
from gateway.storage.queries.keyset import Branch, of_branch
from gateway.storage.records import NewFact
from gateway.storage.tables import api_token, approval, person, role_grant
from gateway.storage.transaction import Transaction

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 100
"""Pending requests of one person or machine."""
_LOOK_S: Final = 5.0
DONE: Final = "done"


class ApprovalState(StrEnum):
    """The state of a request."""

    WAITING = "waiting"
    APPROVED = "approved"
    """Approved and carried out."""
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"
    """Approved, but could not be carried out; `outcome` says why."""
    WITHDRAWN = "withdrawn"


class Change(msgspec.Struct, frozen=True):
    """What it would change, in the form of an audit row."""

    act: str
    thing: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class NewApproval(msgspec.Struct, frozen=True):
    """A request to keep pending, as it was sent. `route` as in the table of routes, `path` the values in it."""

    site: str
    act: Permission
    method: str
    route: str
    path: dict[str, str]
    query: dict[str, str]
    body: Any
    changes: list[Change]
    reason: str


class ApprovalRecord(msgspec.Struct, frozen=True):
    """A request and its outcome. Times are epoch milliseconds."""

    id: str
    site: str
    act: Permission
    method: str
    route: str
    path: dict[str, str]
    query: dict[str, str]
    body: Any
    changes: list[Change]
    thing: str
    reason: str
    requested_by: str
    via: str
    origin: str
    at: int
    expires_at: int
    state: ApprovalState
    decided_by: str | None
    decided_at: int | None
    note: str
    outcome: str
    version: int


class NoSuchApproval(Exception):
    """There is no request with this id."""


class AlreadyDecided(Exception):
    """It is no longer pending, or has changed since it was read."""


class TooManyWaiting(Exception):
    """The requester has too many pending requests."""


class NotCarriedOut(Exception):
    """The requester or the approver no longer holds the permission; the text is the name of the outcome."""


class Approvals:
    """Keeps requests and their decisions."""

    def __init__(self, database: Database, rules: ApprovalRules, *, demo: bool) -> None:
        self.rules = rules
        self._database = database
        self._demo = demo

    async def request(self, new: NewApproval, cause: Cause, now: int) -> ApprovalRecord:
        """Keep a request pending; the same request is not stored twice. Raises TooManyWaiting."""
        record = _fresh(new, cause, now, now + self.rules.lifetime)
        async with self._database.transaction() as transaction:
            by_them = beside_index(approval.c.requested_by == cause.actor)
            mine = await _records(transaction, by_them & _is_waiting(now), limit=MOST_WAITING)
            for one in mine:
                if _content(one) == _content(record):
                    return one
            if len(mine) >= MOST_WAITING:
                raise TooManyWaiting(f"{MOST_WAITING} of your requests are pending already; withdraw some")
            await transaction.execute(insert(approval).values(**msgspec.to_builtins(record)))
            _tell(transaction, now, cause, "approval.request", None, record)
        return record

    async def find(self, identity: str) -> ApprovalRecord:
        """One request. Raises NoSuchApproval."""
        found = await self.of([identity])
        if not found:
            raise NoSuchApproval("there is no such request")
        return found[0]

    async def of(self, identities: Iterable[str]) -> list[ApprovalRecord]:
        """Requests by id, oldest first."""
        found: list[ApprovalRecord] = []
        async with self._database.reading() as connection:
            for part in in_portions(list(identities)):
                found += await _records(connection, approval.c.id.in_(part))
        return sorted(found, key=lambda record: record.id)

    async def waiting(self, now: int) -> list[ApprovalRecord]:
        """All pending requests, newest first."""
        async with self._database.reading() as connection:
            return await _records(connection, _is_waiting(now))

    async def page(
        self, grants: Grants | None, who: str, state: ApprovalState | None, cursor: str, limit: int, now: int
    ) -> list[ApprovalRecord]:
        """Requests that a person may see, newest first: their own, and those whose permission they hold on the site."""
        beside = [] if state is None else [_in_state(state, now)]
        after = (cursor,) if cursor else None
        found: dict[str, ApprovalRecord] = {}
        async with self._database.reading() as connection:
            for along in ([(approval.c.requested_by, who)], *_decidable(grants)):
                statement = of_branch(select(approval), Branch(along, beside), (approval.c.id,), after)
                found |= {record.id: record for record in await _read(connection, statement.limit(limit))}
        return sorted(found.values(), key=lambda record: record.id, reverse=True)[:limit]

    async def makers(self, record: ApprovalRecord) -> frozenset[str]:
        """The requester; for a machine also the person who made its token."""
        statement = select(api_token.c.created_by).where(api_token.c.id == record.requested_by)
        async with self._database.reading() as connection:
            maker = await connection.scalar(statement)
        return frozenset({record.requested_by, *([maker] if maker else [])})

    async def requester(self, record: ApprovalRecord, now: int) -> Person:
        """The requester with their current permissions. Raises NotCarriedOut."""
        async with self._database.reading() as connection:
            found = await _person(connection, record.requested_by, now, demo=self._demo)
        if found is None:
            raise NotCarriedOut("requester_gone")
        return found

    async def settle(
        self, record: ApprovalRecord, state: ApprovalState, cause: Cause, now: int, *, note: str = "", outcome: str = ""
    ) -> ApprovalRecord:
        """Close it without carrying it out, or record that an approved one failed. Raises AlreadyDecided."""
        after = msgspec.structs.replace(
            record, state=state, decided_by=cause.actor, decided_at=now, note=note, outcome=outcome,
            version=record.version + 1,
        )  # fmt: skip
        async with self._database.transaction() as transaction:
            await _write(transaction, record, after)
            _tell(transaction, now, cause, _ACTS[state], record, after)
        return after

    def claim(self, record: ApprovalRecord, cause: Cause, note: str, now: int) -> "Claim":
        """The approval that joins the transaction of the change."""
        return Claim(record, cause, note, now, demo=self._demo)

    async def run(self, clock: Callable[[], int]) -> None:
        """Expire undecided requests until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.expire(clock())
            except DatabaseTrouble as error:
                log.warning("pending requests cannot expire now: the database does not respond", why=str(error))

    async def expire(self, now: int) -> None:
        """Expire undecided requests."""
        over = (approval.c.state == ApprovalState.WAITING) & (approval.c.expires_at <= now)
        async with self._database.reading() as connection:
            records = await _records(connection, over)
        for record in records:
            try:
                await self.settle(record, ApprovalState.EXPIRED, CLOCK, now)
            except AlreadyDecided:  # by another process
                continue


class Claim:
    """The approval as a part of the change's transaction (`storage.database.Companion`)."""

    def __init__(self, record: ApprovalRecord, cause: Cause, note: str, now: int, *, demo: bool) -> None:
        self.done = False
        self.approved = msgspec.structs.replace(
            record, state=ApprovalState.APPROVED, decided_by=cause.actor, decided_at=now, note=note, outcome=DONE,
            version=record.version + 1,
        )  # fmt: skip
        self._record = record
        self._cause = cause
        self._now = now
        self._demo = demo

    async def begin(self, connection: AsyncConnection) -> None:
        """Claim it if it is pending and both people still hold the permission. Raises AlreadyDecided, NotCarriedOut."""
        await _write(connection, self._record, self.approved)
        record, now = self._record, self._now
        requester = await _person(connection, record.requested_by, now, demo=self._demo)
        if requester is None:
            raise NotCarriedOut("requester_gone")
        if not may(requester.grants, record.act, record.site).permitted:
            raise NotCarriedOut("requester_not_permitted")
        second = await _person(connection, self._cause.actor, now, demo=self._demo)
        grants = None if second is None else second.grants
        found = verdict(grants, record.act, record.site, who=self._cause.actor, asked={record.requested_by})
        if found is not Verdict.MAY:
            raise NotCarriedOut("approver_not_permitted")

    async def end(self, transaction: Transaction) -> None:
        """Write the audit row of the approval beside those of the change."""
        _tell(transaction, self._now, self._cause, "approval.approve", self._record, self.approved)
        self.done = True


_ACTS: Final = {
    ApprovalState.REFUSED: "approval.refuse",
    ApprovalState.WITHDRAWN: "approval.withdraw",
    ApprovalState.EXPIRED: "approval.expire",
    ApprovalState.FAILED: "approval.fail",
}


def _fresh(new: NewApproval, cause: Cause, now: int, expires_at: int) -> ApprovalRecord:
    return ApprovalRecord(
        id=new_id(now), **msgspec.structs.asdict(new), thing=new.changes[0].thing if new.changes else "",
        requested_by=cause.actor, via=cause.via.value, origin=cause.origin, at=now, expires_at=expires_at,
        state=ApprovalState.WAITING, decided_by=None, decided_at=None, note="", outcome="", version=1,
    )  # fmt: skip


def _content(record: ApprovalRecord) -> Any:
    return record.method, record.route, record.path, record.query, record.body


def _is_waiting(now: int) -> ColumnElement[bool]:
    return (approval.c.state == ApprovalState.WAITING) & (approval.c.expires_at > now)


def _in_state(state: ApprovalState, now: int) -> ColumnElement[bool]:
    if state is ApprovalState.WAITING:
        return _is_waiting(now)
    late = (approval.c.state == ApprovalState.WAITING) & (approval.c.expires_at <= now)
    return (approval.c.state == state) | late if state is ApprovalState.EXPIRED else approval.c.state == state


def _decidable(grants: Grants | None) -> Iterator[list[tuple[Column[str], str]]]:
    """Branches for rows whose permission a person holds on the row's site: one per permission and place."""
    for act in Permission:
        if may(grants, act, ALL_SITES).permitted:
            yield [(approval.c.act, act.value)]
            continue
        for place in grants or {}:
            if may(grants, act, place).permitted:
                yield [(approval.c.site, place), (approval.c.act, act.value)]


async def _records(
    connection: AsyncConnection, condition: ColumnElement[bool], *, limit: int | None = None
) -> list[ApprovalRecord]:
    return await _read(connection, select(approval).where(condition).order_by(approval.c.id.desc()).limit(limit))


async def _read(connection: AsyncConnection, statement: Select[Any]) -> list[ApprovalRecord]:
    rows = (await connection.execute(statement)).mappings().all()
    fields = ApprovalRecord.__struct_fields__
    return [msgspec.convert({name: row[name] for name in fields}, ApprovalRecord) for row in rows]


async def _write(connection: AsyncConnection, before: ApprovalRecord, after: ApprovalRecord) -> None:
    changed = await connection.execute(
        update(approval)
        .where(approval.c.id == before.id, approval.c.state == before.state, approval.c.version == before.version)
        .values(
            state=after.state.value, decided_by=after.decided_by, decided_at=after.decided_at, note=after.note,
            outcome=after.outcome, version=after.version,
        )
    )  # fmt: skip
    if changed.rowcount == 0:
        raise AlreadyDecided("it has just been decided")


def _tell(
    transaction: Transaction, now: int, cause: Cause, act: str, before: ApprovalRecord | None, after: ApprovalRecord
) -> None:
    why = msgspec.structs.replace(cause, why=f"approval {after.id}")
    old = None if before is None else _shown(before)
    record = audited(now, after.site, why, act, f"approval:{after.id}", old, _shown(after))
    transaction.add_audit(record)
    transaction.add_facts(NewFact(now, after.site, "approval.changed", after.id))


def _shown(record: ApprovalRecord) -> dict[str, Any]:
    return {
        "state": record.state.value,
        "act": record.act.value,
        "thing": record.thing,
        "requested_by": record.requested_by,
        "decided_by": record.decided_by,
        "outcome": record.outcome,
    }


async def _person(connection: AsyncConnection, identity: str, now: int, *, demo: bool) -> Person | None:
    """An enabled person, or a machine with a valid token, with their permissions; else None."""
    if identity.startswith("token:"):
        token = select(api_token).where(
            api_token.c.id == identity, api_token.c.demo == demo, api_token.c.revoked_at.is_(None),
            api_token.c.expires_at > now,
        )  # fmt: skip
        row = (await connection.execute(token)).mappings().one_or_none()
        if row is None:
            return None
        permissions = [Permission(act) for act in row["permissions"]]
        return Person(
            identity, row["name"], {"en": row["name"], "zh-CN": row["name"]}, dict.fromkeys(row["sites"], permissions)
        )
    who = select(person).where(person.c.id == identity, person.c.demo == demo, person.c.disabled_at.is_(None))
    row = (await connection.execute(who)).mappings().one_or_none()
    if row is None:
        return None
    held = select(role_grant.c.site, role_grant.c.role).where(role_grant.c.person == identity)
    grants: dict[str, list[Role]] = {}
    for site, role in (await connection.execute(held)).all():
        grants.setdefault(site, []).append(Role(role))
    return Person(identity, row["username"], row["name"], grants)
