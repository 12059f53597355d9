"""Interprets InfluxDB's responses: pure. tests/servers/influxdb2.py has responses of InfluxDB 2 from its sources.

Only responses that InfluxDB documents are accepted: a proxy, a login page or another program in between also responds
with a status and a body.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from collectors.timeseries.store import StoreUnavailable

TOO_LARGE: Final = 413
_ABOUT_LINES: Final = frozenset({400, TOO_LARGE, 422})
"""InfluxDB 1 and 3 respond with 400 if they reject lines, InfluxDB 2 with 400 or 422."""
_LINE_FAULT: Final = re.compile(
    r"partial write|unable to parse|field type conflict|retention policy|write window|max key length|"
    r"invalid field|points batch"
)
_REQUEST_FAULT: Final = re.compile(
    r"\borg(anization)?(ID)?\b|\bbucket\b|\bprecision\b|\bdatabase is required\b|\bgzip|\btoken\b|\bauthori[sz]",
    re.IGNORECASE,
)
_CONFLICT: Final = re.compile(r'input field "(.+?)" on measurement "(.+?)" is type (\w+), already exists')
_TOO_OLD: Final = re.compile(r"points beyond retention policy|points outside retention policy")
_OUTSIDE_WINDOW: Final = re.compile(r"[1-9]\d* points outside write window")
_DROPPED: Final = re.compile(r"dropped[ =](\d+)")
_SHOWN: Final = 300
"""Characters of a response that go into a reason."""


class Conflict(msgspec.Struct, frozen=True):
    """A field that already has another type: its stored name, the measurement, and the type that was sent."""

    field: str
    measurement: str
    sent_type: str


class Unacceptable(Exception):
    """The server rejects lines, or some of them, permanently; the text is its reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(shown(reason))
        self.status = status
        self._reason = reason

    @property
    def is_about_retention(self) -> bool:
        """Whether lines were rejected only for their age; all others of the request were stored.

        The texts are "points beyond retention policy dropped=N" up to InfluxDB 2.7.11, and "dropped N points outside
        retention policy of duration …" since 2.7.12 and 1.12.
        """
        return bool(_TOO_OLD.search(self._reason)) and not _OUTSIDE_WINDOW.search(self._reason)

    @property
    def dropped(self) -> int | None:
        """How many lines were rejected, if the server reports it."""
        found = _DROPPED.search(self._reason)
        return int(found[1]) if found else None

    @property
    def conflict(self) -> Conflict | None:
        """The first conflict of types, if that is the fault."""
        found = _CONFLICT.search(self._reason)
        return Conflict(*found.groups()) if found else None


class Result(msgspec.Struct):
    """The result of one statement for one series: tags, and rows by column."""

    columns: list[str]
    name: str = ""
    tags: dict[str, str] = {}
    values: list[list[Any]] = []
    partial: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """The rows, by column, without empty columns."""
        return [
            {column: value for column, value in zip(self.columns, row, strict=True) if value is not None}
            for row in self.values
        ]


class _Statement(msgspec.Struct):
    series: list[Result] = []
    error: str = ""
    partial: bool = False


class _Answer(msgspec.Struct):
    results: list[_Statement] = []
    error: str = ""


class _Fault(msgspec.Struct):
    """A refusal: `message` in InfluxDB 2, `error` in 1 and 3."""

    message: str = ""
    error: str = ""


class StatementFailed(StoreUnavailable):
    """The server is up and reports that it cannot run one of the statements."""


def shown(text: str) -> str:
    """The beginning of a response, for a reason or a log line."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def message_of(body: bytes) -> str:
    """The server's own text in a refusal; "" if it is not InfluxDB's JSON."""
    try:
        fault = msgspec.json.decode(body, type=_Fault)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return fault.message or fault.error


def refusal_of_lines(status: int, body: bytes) -> Unacceptable | None:
    """The fault of the lines, if a response reports one; else None."""
    reason = message_of(body)
    if status == TOO_LARGE:
        return Unacceptable(status, reason or "the request is too large")
    if status not in _ABOUT_LINES or not reason:
        return None
    if not _LINE_FAULT.search(reason) and _REQUEST_FAULT.search(reason):
        return None
    return Unacceptable(status, reason)


def trouble_of(status: int, body: bytes, bucket: str, org: str) -> str:
    """The text for the administrator of a response that is neither a success nor about lines."""
    said = message_of(body) or body.decode("utf-8", "replace").strip()
    return f"InfluxDB responds with {status}: {shown(said)}{_advice(status, said, bucket, org)}"


def _advice(status: int, said: str, bucket: str, org: str) -> str:
    if 200 <= status < 400:
        return " (this is not a response of InfluxDB: check history.url, and any proxy in between)"
    if status == 401:
        return " (check history.token, or user and password)"
    if status == 403:
        return f" (the token needs permission to read and write bucket {bucket!r})"
    if status == 404 and "organization" in said:
        return f" (check history.org, now {org!r})"
    if status == 404 and "bucket" in said:
        return f" (check history.bucket, now {bucket!r}, and that history.token may see it)"
    return ""


def results_of(body: bytes, content_type: str, asked: int) -> list[list[Result]]:
    """The series that each of the `asked` statements found.

    Raises:
        StatementFailed: the server reports that it cannot run a statement.
        StoreUnavailable: it is not the complete response of an InfluxDB to so many statements.
    """
    if content_type != "application/json":
        raise StoreUnavailable(
            f"InfluxDB: a response of type {content_type}: check history.url, and any proxy in between"
        )
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"InfluxDB: a response that cannot be read: {error}") from error
    trouble = answer.error or next((result.error for result in answer.results if result.error), "")
    if trouble:
        raise StatementFailed(f"InfluxDB: {shown(trouble)}")
    if len(answer.results) != asked:
        raise StoreUnavailable(f"InfluxDB: {len(answer.results)} results to {asked} statements")
    _check_whole(answer.results)
    return [result.series for result in answer.results]


def _check_whole(results: Sequence[_Statement]) -> None:
    for series in (series for result in results for series in result.series):
        if any(len(row) != len(series.columns) for row in series.values):
            raise StoreUnavailable("InfluxDB: a row has another number of values than there are columns")
    if any(result.partial or any(series.partial for series in result.series) for result in results):
        raise StoreUnavailable("InfluxDB: the response was truncated; raise max-row-limit of the server")
