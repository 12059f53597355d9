"""Errors as RFC 9457 problem details: a stable code for programs, and a sentence that tells people what to do."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from gateway.api.http.bodies import Problem

CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "bad_query": (400, "A query parameter is not permitted"),
    "bad_credentials": (401, "Name or password is wrong"),
    "second_factor_needed": (401, "A second-factor code is required"),
    "second_factor_wrong": (401, "The code is wrong"),
    "not_signed_in": (401, "Log in first"),
    "forbidden": (403, "Your role does not permit this"),
    "wrong_code": (403, "The code is wrong"),
    "wrong_password": (403, "The password is wrong"),
    "same_person": (403, "A second person has to approve this"),
    "accounts_needed": (403, "Two people are required, and there are no accounts yet"),
    "foreign_origin": (403, "The request comes from another site"),
    "not_by_proxy": (403, "Use the address of the proxy"),
    "not_found": (404, "Not found"),
    "upload_too_slow": (408, "The upload was too slow"),
    "request_too_slow": (408, "The request was too slow"),
    "method_not_allowed": (405, "This address does not support the method"),
    "stale_version": (409, "It has changed since it was read"),
    "not_permitted_in_state": (409, "Its state does not permit this"),
    "username_taken": (409, "This user name is taken"),
    "site_taken": (409, "This site code is taken"),
    "last_administrator": (409, "This is the last administrator"),
    "code_taken": (409, "The code belongs, or belonged, to other equipment"),
    "kind_differs": (409, "The other device is of another kind"),
    "alarms_open": (409, "It has open alarms"),
    "link_loop": (409, "The links would form a loop"),
    "attachment_id_taken": (409, "Another attachment has this id"),
    "too_many_attachments": (409, "The ticket has too many attachments"),
    "attachment_missing": (410, "The file no longer exists"),
    "too_large": (413, "The request is too large"),
    "unsupported_type": (415, "Files of this type are not accepted"),
    "not_what_it_says": (422, "The content of the file does not match its type"),
    "too_many_pixels": (422, "The picture is too large"),
    "password_too_short": (422, "The password is too short"),
    "password_too_long": (422, "The password is too long"),
    "password_guessable": (422, "The password is easy to guess"),
    "shelved_too_long": (422, "The shelving time is too long"),
    "rule_refused": (422, "The rule, or its change, is invalid"),
    "not_testable": (422, "The history cannot be used for this test"),
    "zone_needed": (422, "Work on a fire panel needs a zone"),
    "window_too_long": (422, "The window is too long"),
    "too_many_attempts": (429, "Too many attempts"),
    "too_many_requests": (429, "Too many requests"),
    "busy": (503, "Too many logins at once"),
    "uploads_busy": (503, "Too many uploads at once"),
    "attachments_unavailable": (503, "Files cannot be stored or read now"),
    "database_unavailable": (503, "The database does not respond"),
    "store_unavailable": (503, "The history cannot be read now"),
    "disk_full": (507, "The disk is full"),
    "internal_error": (500, "Internal error"),
}
"""code -> HTTP status and title."""


class ProblemError(Exception):
    """Ends a request with a problem. `retry_after`: seconds after which it may be tried again."""

    def __init__(self, code: str, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


_OF_STATUS: Final[Mapping[int, str]] = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
"""For requests that aiohttp refuses; every other status has its general code."""


def problem_for(error: web.HTTPException) -> web.Response:
    """The problem for a request that aiohttp itself refuses."""
    code = _OF_STATUS.get(error.status, "bad_request" if error.status < 500 else "internal_error")
    response = problem_response(code)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def problem_response(code: str, detail: str = "", retry_after: float | None = None) -> web.Response:
    """The answer for a problem code."""
    status, title = CODES[code]
    body = msgspec.json.encode(Problem(title, status, code, detail))
    response = web.Response(status=status, body=body, content_type="application/problem+json")
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="gengfu"'
    return response
