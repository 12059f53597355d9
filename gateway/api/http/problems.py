"""Errors as RFC 9457 problem details: a stable code for programs, a sentence that says what to do for people."""

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
    "second_factor_needed": (401, "A code is needed too"),
    "second_factor_wrong": (401, "The code is wrong"),
    "not_signed_in": (401, "Log in first"),
    "forbidden": (403, "Your role does not permit this"),
    "wrong_code": (403, "The code is wrong"),
    "wrong_password": (403, "The password is wrong"),
    "same_person": (403, "Somebody else has to approve this"),
    "accounts_needed": (403, "Two people are needed, and there are no accounts yet"),
    "foreign_origin": (403, "The request comes from another site"),
    "not_by_proxy": (403, "The service is reached by its proxy only"),
    "not_found": (404, "There is no such thing"),
    "upload_too_slow": (408, "The file came too slowly"),
    "request_too_slow": (408, "The request came too slowly"),
    "method_not_allowed": (405, "This address has no such method"),
    "stale_version": (409, "It has changed since you looked"),
    "not_permitted_in_state": (409, "Its state does not permit this"),
    "username_taken": (409, "Somebody has this name already"),
    "site_taken": (409, "There is a site of this code already"),
    "last_administrator": (409, "This is the last administrator"),
    "link_loop": (409, "The equipment would hang from itself"),
    "attachment_id_taken": (409, "Something else has this id already"),
    "too_many_attachments": (409, "The ticket has too many attachments"),
    "attachment_missing": (410, "The file is not there any more"),
    "too_large": (413, "The request is too large"),
    "unsupported_type": (415, "Files of this kind are not taken"),
    "not_what_it_says": (422, "The file is not what it says"),
    "too_many_pixels": (422, "The picture is too large"),
    "password_too_short": (422, "The password is too short"),
    "password_too_long": (422, "The password is too long"),
    "password_guessable": (422, "The password is easy to guess"),
    "shelved_too_long": (422, "It may not be shelved for so long"),
    "rule_refused": (422, "The rule cannot work, or cannot be changed so"),
    "not_testable": (422, "The history cannot answer this"),
    "zone_needed": (422, "Work on a fire panel names its zone"),
    "window_too_long": (422, "The window is too long"),
    "too_many_attempts": (429, "Too many attempts"),
    "too_many_requests": (429, "Too many requests"),
    "busy": (503, "Too many people log in at once"),
    "uploads_busy": (503, "Too many files are sent at once"),
    "attachments_unavailable": (503, "Files cannot be kept or read now"),
    "database_unavailable": (503, "The database does not answer now"),
    "store_unavailable": (503, "The history cannot be read now"),
    "disk_full": (507, "The disk is full"),
    "internal_error": (500, "Something went wrong here"),
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
"""For what aiohttp refuses; every other status has its general code."""


def problem_for(error: web.HTTPException) -> web.Response:
    """The problem that stands for what aiohttp itself refuses."""
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
