"""The JSON of requests that need a second person."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from gateway.api.http.bodies import Texts
from gateway.people.approvals.requests import ApprovalState, Change
from gateway.people.permissions import Permission


class ApprovalBody(msgspec.Struct, frozen=True):
    """A request that needs two people, and its outcome.

    `act` is the permission that both need; `changes` are the changes it would make, as of the time of the request.
    `outcome` of an approved request is "done", or why it could not be carried out: the code of a problem,
    `requester_gone`, `requester_not_permitted` or `approver_not_permitted`.
    """

    id: str
    site: str
    """"*" if it is about several sites, or none."""
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
    requester: Texts
    at: datetime
    expires_at: datetime
    state: ApprovalState
    decided_by: str | None
    decider: Texts | None
    decided_at: datetime | None
    note: str
    outcome: str
    version: int


class Decide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if it was decided meanwhile, the answer is 409."""

    version: int
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class LiveApproval(msgspec.Struct, frozen=True, tag_field="type", tag="approval"):
    """Sent to people who may decide it, and to its requester."""

    seq: int
    approval: ApprovalBody
