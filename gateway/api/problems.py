"""Errors as RFC 9457 problem details: a stable code for programs, a sentence that says what to do for people."""

import msgspec
from aiohttp import web

from gateway.api.bodies import Problem

CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "bad_query": (400, "A query parameter is not permitted"),
    "bad_credentials": (401, "Name or password is wrong"),
    "not_signed_in": (401, "Log in first"),
    "forbidden": (403, "Your role does not permit this"),
    "foreign_origin": (403, "The request comes from another site"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "This address has no such method"),
    "stale_version": (409, "It has changed since you looked"),
    "not_permitted_in_state": (409, "Its state does not permit this"),
    "too_large": (413, "The request is too large"),
    "database_unavailable": (503, "The database does not answer now"),
    "store_unavailable": (503, "The history cannot be read now"),
    "internal_error": (500, "Something went wrong here"),
}
"""code -> HTTP status and title."""


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def problem_response(code: str, detail: str = "") -> web.Response:
    """The answer for a problem code."""
    status, title = CODES[code]
    body = msgspec.json.encode(Problem(title, status, code, detail))
    return web.Response(status=status, body=body, content_type="application/problem+json")
