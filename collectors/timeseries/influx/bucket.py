"""The bucket: its existence, our access to it, and its retention.

InfluxDB 2 has a list of buckets, InfluxDB 1 has databases; InfluxDB 3 creates a database with the first write to it.
"""

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.answers import Result, message_of, shown, trouble_of
from collectors.timeseries.store import StoreUnavailable

_NO_SUCH_LIST: Final = frozenset({400, 403, 404, 405, 501})
"""Responses of a server, or of a proxy in front of it, that has no list of buckets for us."""
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
Answer = TypeVar("Answer")
Request = Callable[..., Awaitable[tuple[int, str, bytes]]]
Ask = Callable[[Sequence[str]], Awaitable[list[list[Result]]]]


class _Rule(msgspec.Struct, rename="camel"):
    every_seconds: int = 0


class _Entry(msgspec.Struct, rename="camel"):
    name: str
    retention_rules: list[_Rule] = []


class _Buckets(msgspec.Struct):
    buckets: list[_Entry]


class _Org(msgspec.Struct):
    id: str


class _Orgs(msgspec.Struct):
    orgs: list[_Org] = []


class _Unlisted(Exception):
    """The server has no list of buckets: it is InfluxDB 1 or 3."""


class Bucket:
    """One bucket of one server."""

    def __init__(self, access: Access, request: Request, ask: Ask) -> None:
        """Describe it; nothing is requested yet.

        Args:
            access: which bucket, in which organisation.
            request: sends a request, see `InfluxHttp.request`.
            ask: runs InfluxQL, see `InfluxHttp.ask`.
        """
        self.kept_s: int | None = None
        """Retention in seconds; None: unlimited, or not known."""
        self._access, self._request, self._ask = access, request, ask
        self._is_seen = not access.token

    async def see(self) -> None:
        """Return when the bucket was found in the organisation of the settings.

        InfluxDB 2 runs a query in the token's own organisation, whatever the request names: without this check a
        wrong organisation would only fail writes, and reads would show another bucket of the same name.

        Raises:
            StoreUnavailable: the organisation is not known, or the token may not see the bucket.
        """
        if self._is_seen:
            return
        with contextlib.suppress(_Unlisted):
            if await self._find() is None:
                raise StoreUnavailable(self._unseen("it finds no bucket of this name"))
        self._is_seen = True

    async def make(self, retention_days: int | None) -> None:
        """Create the bucket if it is missing and we may; read its retention.

        Raises StoreUnavailable.
        """
        if not self._access.token:
            await self._make_database(retention_days)
            return
        try:
            if await self._find() is None:
                await self._add(retention_days)
        except _Unlisted:
            await self._make_database(retention_days)
        self._is_seen = True

    async def learn(self) -> None:
        """Read the retention of the bucket again. Raises StoreUnavailable."""
        try:
            if self._access.token:
                await self._find()
                return
        except _Unlisted:
            pass
        await self._learn_of_database()

    # -- InfluxDB 2 ------------------------------------------------------------------------------------

    async def _find(self) -> _Entry | None:
        params = {"name": self._access.bucket, "org": self._access.org}
        status, content_type, body = await self._get("/api/v2/buckets", params)
        if status == 200 and content_type == "application/json":
            found = _decode(body, _Buckets).buckets
            entry = next((entry for entry in found if entry.name == self._access.bucket), None)
            if entry is not None:
                self.kept_s = next((rule.every_seconds for rule in entry.retention_rules), 0) or None
            return entry
        said = message_of(body)
        if status == 404 and "bucket" in said:
            return None
        if status in _NO_SUCH_LIST and "organization" not in said:
            raise _Unlisted
        raise StoreUnavailable(trouble_of(status, body, self._access.bucket, self._access.org))

    async def _add(self, retention_days: int | None) -> None:
        status, _, body = await self._get("/api/v2/orgs", {"org": self._access.org})
        orgs = _decode(body, _Orgs).orgs if status == 200 else []
        if not orgs:
            raise StoreUnavailable(self._unseen("it may not create one"))
        rules = [{"type": "expire", "everySeconds": retention_days * 86_400}] if retention_days else []
        wanted = {"orgID": orgs[0].id, "name": self._access.bucket, "retentionRules": rules}
        status, _, body = await self._request("POST", "/api/v2/buckets", json=wanted)
        if status != 201:
            raise StoreUnavailable(self._unseen(shown(message_of(body)) or f"status {status}"))
        self.kept_s = retention_days * 86_400 if retention_days else None

    async def _get(self, path: str, params: dict[str, str]) -> tuple[int, str, bytes]:
        try:
            return await self._request("GET", path, params={name: value for name, value in params.items() if value})
        except TimeoutError as error:
            raise StoreUnavailable("InfluxDB: TimeoutError") from error

    def _unseen(self, why: str) -> str:
        access = self._access
        return (
            f"InfluxDB: history.token can neither see bucket {access.bucket!r} of organisation {access.org!r} nor "
            f"create it ({why}): create the bucket, and give the token permission to read and write it"
        )

    # -- InfluxDB 1 ------------------------------------------------------------------------------------

    async def _make_database(self, retention_days: int | None) -> None:
        duration = f" WITH DURATION {retention_days}d REPLICATION 1" if retention_days else ""
        with contextlib.suppress(StoreUnavailable):  # it may exist, or we may not create any: a write will show
            await self._ask([f'CREATE DATABASE "{self._access.bucket}"{duration}'])
        await self._learn_of_database()

    async def _learn_of_database(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # not known: then the rejection of a write will show
            (found,) = await self._ask([f'SHOW RETENTION POLICIES ON "{self._access.bucket}"'])
            rows = [row for result in found for row in result.rows()]
            durations = [str(row.get("duration", "")) for row in rows if row.get("default")]
            self.kept_s = _seconds(durations[0]) if durations else None


def _seconds(duration: str) -> int | None:
    """Seconds of a duration like 720h0m0s; None for 0s, which is unlimited."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds or None


def _decode(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"InfluxDB: a response that cannot be read: {error}") from error
