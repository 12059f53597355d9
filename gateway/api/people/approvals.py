"""Requests that need a second person: list and decide them."""

import msgspec

from collectors.wire.reading import to_datetime
from gateway.api.http.bodies import Page, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.api.http.two_person_rule import carry_out
from gateway.api.people.approval_bodies import ApprovalBody, Decide
from gateway.people.accounts import Accounts
from gateway.people.approvals.requests import AlreadyDecided, ApprovalRecord, ApprovalState, NoSuchApproval
from gateway.people.approvals.rules import Verdict, verdict
from gateway.people.authentication.logins import Session, Way
from gateway.people.permissions import Permission, may


class ApprovalQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: ApprovalState | None = None
    cursor: str = ""
    limit: int = 100


def approval_body(record: ApprovalRecord, accounts: Accounts, now: int) -> ApprovalBody:
    late = record.state is ApprovalState.WAITING and record.expires_at <= now
    return ApprovalBody(
        id=record.id,
        site=record.site,
        act=record.act,
        method=record.method,
        route=record.route,
        path=record.path,
        query=record.query,
        body=record.body,
        changes=record.changes,
        thing=record.thing,
        reason=record.reason,
        requested_by=record.requested_by,
        requester=texts(accounts.name_of(record.requested_by)),
        at=to_datetime(record.at),
        expires_at=to_datetime(record.expires_at),
        state=ApprovalState.EXPIRED if late else record.state,
        decided_by=record.decided_by,
        decider=None if record.decided_by is None else texts(accounts.name_of(record.decided_by)),
        decided_at=None if record.decided_at is None else to_datetime(record.decided_at),
        note=record.note,
        outcome=record.outcome,
        version=record.version,
    )


def concerns(session: Session, record: ApprovalRecord) -> bool:
    """Whether a person may see it: its requester, and people with the same permission on that site."""
    if session.person.id == record.requested_by:
        return True
    return session.way is not Way.TOKEN and may(session.person.grants, record.act, record.site).permitted


async def list_approvals(call: Call) -> Page[ApprovalBody]:
    query: ApprovalQuery = call.query
    session, now = _session(call), call.services.wall()
    if not 1 <= query.limit <= 500:
        raise ProblemError("bad_query", "limit must be between 1 and 500")
    grants = {} if session.way is Way.TOKEN else session.person.grants
    records = await call.services.people.approvals.page(
        grants, session.person.id, query.state, query.cursor, query.limit + 1, now
    )
    following = records[query.limit - 1].id if len(records) > query.limit else None
    return Page([approval_body(one, call.services.accounts, now) for one in records[: query.limit]], following)


async def show_approval(call: Call) -> ApprovalBody:
    return _body(call, await _find(call))


async def approve(call: Call) -> ApprovalBody:
    """Approve and carry out the request; if that is no longer possible, the answer has `failed` and the reason."""
    record, now = await _decidable(call), call.services.wall()
    try:
        _require_waiting(record, call.body.version, now)
        return _body(call, await carry_out(call, record, call.body.note))
    except AlreadyDecided as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error


async def refuse(call: Call) -> ApprovalBody:
    return await _settle(call, await _decidable(call), ApprovalState.REFUSED)


async def withdraw(call: Call) -> ApprovalBody:
    record = await _find(call)
    if _session(call).person.id != record.requested_by:
        raise ProblemError("forbidden", "only the requester can withdraw it; you may refuse it")
    return await _settle(call, record, ApprovalState.WITHDRAWN)


async def _settle(call: Call, record: ApprovalRecord, state: ApprovalState) -> ApprovalBody:
    wanted, now = call.body, call.services.wall()
    try:
        _require_waiting(record, wanted.version, now)
        settled = await call.services.people.approvals.settle(record, state, call.cause, now, note=wanted.note)
    except AlreadyDecided as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    return _body(call, settled)


def _require_waiting(record: ApprovalRecord, version: int, now: int) -> None:
    if record.state is not ApprovalState.WAITING or record.expires_at <= now:
        raise AlreadyDecided("it is no longer pending")
    if record.version != version:
        raise ProblemError("stale_version", f"it is at version {record.version}")


async def _decidable(call: Call) -> ApprovalRecord:
    """The request in the path, if the caller may be its second person. Raises ProblemError."""
    record, session = await _find(call), _session(call)
    found = verdict(
        session.person.grants, record.act, record.site, who=session.person.id,
        asked=await call.services.people.approvals.makers(record), machine=session.way is not Way.COOKIE,
    )  # fmt: skip
    if found is Verdict.MAY:
        return record
    raise ProblemError("forbidden" if found is Verdict.NO_ROLE else found.value, _WHY_NOT.get(found, ""))


_WHY_NOT = {
    Verdict.SAME_PERSON: "you, or a token that you made, requested this; another person has to decide it",
    Verdict.MACHINE: "only a person with a login may approve or refuse",
}


async def _find(call: Call) -> ApprovalRecord:
    try:
        record = await call.services.people.approvals.find(call.path["approval"])
    except NoSuchApproval as error:
        raise ProblemError("not_found", str(error)) from error
    if not concerns(_session(call), record):
        raise ProblemError("not_found", "there is no such request")
    return record


def _session(call: Call) -> Session:
    if call.session is None:
        raise ProblemError("not_signed_in")
    return call.session


def _body(call: Call, record: ApprovalRecord) -> ApprovalBody:
    return approval_body(record, call.services.accounts, call.services.wall())


_ONE = "/approvals/{approval}"
_A = Permission.SIGNED_IN
ROUTES = (
    Route(
        "GET", "/approvals", _A, list_approvals, "Requests that need two people, newest first", Page[ApprovalBody],
        query=ApprovalQuery,
    ),
    Route("GET", _ONE, _A, show_approval, "One request that needs two people", ApprovalBody),
    Route("POST", f"{_ONE}/approve", _A, approve, "Approve and carry out a request as the second person", ApprovalBody,
          request=Decide),
    Route("POST", f"{_ONE}/refuse", _A, refuse, "Refuse a request as the second person", ApprovalBody, request=Decide),
    Route("POST", f"{_ONE}/withdraw", _A, withdraw, "Withdraw my request", ApprovalBody, request=Decide),
)  # fmt: skip
