"""The two-person rule: a request is kept pending and carried out by its own route when a second person approves it.

To show what a request would change, its handler is run up to the end of its first transaction, which is then rolled
back. So a missing permission or a stale version is refused at once.
"""

from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Answer, Call, NeedsSecondPerson, Route
from gateway.people.accounts import Person
from gateway.people.approvals.requests import (
    ApprovalRecord,
    ApprovalState,
    Change,
    NewApproval,
    NotCarriedOut,
    TooManyWaiting,
)
from gateway.people.audit.entry import Via
from gateway.people.authentication.logins import ClientInfo, Session, Way
from gateway.people.permissions import ALL_SITES
from gateway.storage.tables import audit

_SOMEBODY: Final = "somebody else"
"""Placeholder for the second person during a trial run."""
BY_SETTING: Final = "approval.permissions"
"""The reason of a request that needs approval by setting."""


class _Tried(Exception):
    """The transaction of a trial run has reached its end and is rolled back."""

    def __init__(self, site: str, changes: list[Change]) -> None:
        super().__init__()
        self.site = site
        self.changes = changes


class _Trial:
    """Rolls a transaction back at its end (`storage.database.Companion`)."""

    def __init__(self) -> None:
        self._last = 0

    async def begin(self, connection: AsyncConnection) -> None:
        self._last = int(await connection.scalar(select(func.coalesce(func.max(audit.c.id), 0))) or 0)

    async def end(self, connection: AsyncConnection) -> None:
        # One transaction writes at a time, so newer rows are ours.
        columns = (audit.c.site, audit.c.act, audit.c.thing, audit.c.before, audit.c.after)
        rows = (await connection.execute(select(*columns).where(audit.c.id > self._last).order_by(audit.c.id))).all()
        sites = {row.site for row in rows}
        site = next(iter(sites)) if len(sites) == 1 else ""
        raise _Tried(site or ALL_SITES, [Change(row.act, row.thing, row.before, row.after) for row in rows])


async def answer(call: Call, route: Route, path: str) -> Answer | ApprovalRecord:
    """The answer of the route, or the request that is now pending.

    Args:
        call: the request.
        route: the route that handles it.
        path: the route's, with its prefix.
    """
    if not route.may_wait:
        return await route.handler(call)
    reason = BY_SETTING
    if route.act not in call.services.people.approvals.rules.permissions:
        try:
            return await route.handler(call)
        except NeedsSecondPerson as need:
            reason = str(need)
    try:
        with call.services.database.accompanied(_Trial()):
            return await route.handler(msgspec.structs.replace(call, second_person=_SOMEBODY))
    except _Tried as tried:
        return await _keep_pending(call, route, path, reason, tried)


async def _keep_pending(call: Call, route: Route, path: str, reason: str, tried: _Tried) -> ApprovalRecord:
    if call.session is None:
        raise ProblemError("not_signed_in")
    if call.session.way is Way.LOCAL:  # without accounts nobody could approve it
        raise ProblemError("accounts_needed", "add accounts with `gengfu user add`: two people have to log in")
    query = {} if call.query is None else msgspec.to_builtins(call.query)
    new = NewApproval(
        tried.site, route.act, route.method, path, dict(call.path), query,
        None if call.body is None else msgspec.json.decode(msgspec.json.encode(call.body)), tried.changes, reason,
    )  # fmt: skip
    try:
        return await call.services.people.approvals.request(new, call.cause, call.services.wall())
    except TooManyWaiting as error:
        raise ProblemError("too_many_requests", str(error), retry_after=60) from error


async def carry_out(call: Call, record: ApprovalRecord, note: str) -> ApprovalRecord:
    """Approve a request and carry it out in one transaction, as its requester.

    If the database does not respond, the request stays pending. Raises AlreadyDecided.
    """
    approvals, now = call.services.people.approvals, call.services.wall()
    claim = approvals.claim(record, call.cause, note, now)
    try:
        requester = await approvals.requester(record, now)
        route, theirs = _as_requested(call, record, requester)
        with call.services.database.accompanied(claim):
            await route.handler(theirs)
        if not claim.done:  # the handler changed nothing
            async with call.services.database.transaction() as transaction:
                await claim.begin(transaction)
                await claim.end(transaction)
    except (ProblemError, NotCarriedOut, NeedsSecondPerson) as error:
        outcome = error.code if isinstance(error, ProblemError) else str(error)
        begun = claim.approved if claim.done else record
        return await approvals.settle(begun, ApprovalState.FAILED, call.cause, now, note=note, outcome=outcome[:64])
    return claim.approved


def _as_requested(call: Call, record: ApprovalRecord, requester: Person) -> tuple[Route, Call]:
    """The request as it was sent, with the current permissions of its requester."""
    route = call.routes.get((record.method, record.route))
    if route is None:  # of another version of the program
        raise ProblemError("not_found", "this version of the service has no such route")
    way = Way.TOKEN if record.via == Via.TOKEN else Way.COOKIE
    session = Session(requester, way, "", "", record.expires_at)
    try:
        query = None if route.query is None else msgspec.convert(record.query, route.query, strict=False)
        body = (
            None if route.request is None else msgspec.json.decode(msgspec.json.encode(record.body), type=route.request)
        )
    except msgspec.ValidationError as error:
        raise ProblemError("bad_request", str(error)) from error
    by = call.person.id if call.person else ""
    return route, Call(
        call.services, session, ClientInfo(record.origin), record.path, query, body, second_person=by,
        why=f"approval {record.id} by {by}", routes=call.routes,
    )  # fmt: skip
