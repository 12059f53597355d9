"""Talks to InfluxDB: line protocol to `/api/v2/write` through influxdb-client, InfluxQL to `/query`.

This pair is what InfluxDB 1.8, 2 and 3 all understand. Every trouble that passes by itself, or that somebody must
mend at the server, is StoreUnavailable; only what is wrong with the lines themselves is `Unacceptable`.
"""

import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException

from collectors.timeseries.store import StoreUnavailable

_SHOWN: Final = 300
"""Characters of an answer that go into a reason."""
_LONGEST_QUIET_S: Final = 60.0
_STATEMENTS: Final = 50
"""InfluxQL statements a request."""
TOO_LARGE: Final = 413
TOO_OLD: Final = "beyond retention policy"
"""Stands in the answer where lines were older than what the bucket keeps; the others were taken."""
_ABOUT_THE_LINES: Final = frozenset({400, TOO_LARGE, 422})


class Access(msgspec.Struct, frozen=True):
    """Where InfluxDB is and how it lets us in: a token (InfluxDB 2 and 3), or user and password (InfluxDB 1)."""

    url: str
    bucket: str
    org: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    gzip: bool = False
    timeout_s: float = 10.0

    def headers(self) -> dict[str, str]:
        """What a query says about us."""
        if self.token:
            return {"Authorization": f"Token {self.token}"}
        if self.username:
            pair = b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}


class Unacceptable(Exception):
    """Lines, or some of them, that the server will never take; the text is its reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Result(msgspec.Struct):
    """What one statement found in one series: tags, and rows by column."""

    columns: list[str]
    name: str = ""
    tags: dict[str, str] = {}
    values: list[list[Any]] = []

    def rows(self) -> list[dict[str, Any]]:
        """The rows, by column; what has no value is left out."""
        return [
            {column: value for column, value in zip(self.columns, row, strict=True) if value is not None}
            for row in self.values
        ]


class _Statement(msgspec.Struct):
    series: list[Result] = []
    error: str = ""


class _Answer(msgspec.Struct):
    results: list[_Statement] = []
    error: str = ""


class InfluxHttp:
    """One server and one bucket. Made inside the loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._writer = InfluxDBClientAsync(
            access.url,
            token=access.token or (f"{access.username}:{access.password}" if access.username else ""),
            auth_basic=bool(access.username and not access.token),
            org=access.org or "-",  # InfluxDB 1 has none and the client insists on one
            timeout=int(access.timeout_s * 1000),
            enable_gzip=access.gzip,
        )
        self._session = aiohttp.ClientSession(
            headers=access.headers(), timeout=aiohttp.ClientTimeout(total=access.timeout_s)
        )
        self._quiet_until = 0.0

    async def close(self) -> None:
        await self._writer.close()  # type: ignore[no-untyped-call]  # the client types none of its own
        await self._session.close()

    async def write(self, lines: Sequence[str]) -> None:
        """Return when the server has taken all lines.

        Raises:
            StoreUnavailable: try all of them again later.
            Unacceptable: some of them, or all, will never be taken; the others may have been.
        """
        quiet_s = self._quiet_until - time.monotonic()
        if quiet_s > 0:
            raise StoreUnavailable("InfluxDB asked to be left alone for a while")
        try:
            await self._writer.write_api().write(self._access.bucket, record="\n".join(lines))
        except ApiException as error:
            self._explain(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"InfluxDB: {str(error) or type(error).__name__}") from error

    def _explain(self, error: ApiException) -> None:
        body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
        reason = body.strip()[:_SHOWN] or str(error.reason)
        if error.status in _ABOUT_THE_LINES:
            raise Unacceptable(error.status, reason) from error
        headers: Mapping[str, str] = error.headers or {}
        self._keep_quiet(headers.get("Retry-After", ""))
        raise StoreUnavailable(f"InfluxDB answers {error.status}: {reason}") from error

    def _keep_quiet(self, retry_after: str) -> None:
        """As long as a busy server asks for; a date instead of seconds is not waited for."""
        if retry_after.strip().isdigit():
            self._quiet_until = time.monotonic() + min(float(retry_after), _LONGEST_QUIET_S)

    async def ask(self, *statements: str) -> list[list[Result]]:
        """Run InfluxQL; the series that each statement found. Times are nanoseconds."""
        found: list[list[Result]] = []
        for first in range(0, len(statements), _STATEMENTS):
            found += await self._ask(statements[first : first + _STATEMENTS])
        return found

    async def _ask(self, statements: Sequence[str]) -> list[list[Result]]:
        form = {"db": self._access.bucket, "epoch": "ns", "q": ";".join(statements)}
        try:
            async with self._session.post(f"{self._access.url.rstrip('/')}/query", data=form) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"InfluxDB: {str(error) or type(error).__name__}") from error
        if answer.status != 200:
            shown = body.decode("utf-8", "replace").strip()[:_SHOWN]
            raise StoreUnavailable(f"InfluxDB answers {answer.status}: {shown}")
        try:
            said = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreUnavailable(f"InfluxDB: an answer that is none: {error}") from error
        trouble = said.error or next((result.error for result in said.results if result.error), "")
        if trouble:
            raise StoreUnavailable(f"InfluxDB: {trouble}")
        return [result.series for result in said.results]

    async def make_bucket(self, retention_days: int | None) -> None:
        """Make the bucket where it is missing and we may: by InfluxQL on InfluxDB 1, by its own address on 2."""
        duration = f" WITH DURATION {retention_days}d REPLICATION 1" if retention_days else ""
        try:
            await self.ask(f'CREATE DATABASE "{self._access.bucket}"{duration}')
        except StoreUnavailable:
            await self._make_bucket_of_2(retention_days)

    async def _make_bucket_of_2(self, retention_days: int | None) -> None:
        base, access = f"{self._access.url.rstrip('/')}/api/v2", self._access
        rules = [{"type": "expire", "everySeconds": retention_days * 86_400}] if retention_days else []
        try:
            async with self._session.get(f"{base}/orgs", params={"org": access.org}) as answer:
                org = (await answer.json())["orgs"][0]["id"] if answer.status == 200 else None
            if org is not None:
                body = {"orgID": org, "name": access.bucket, "retentionRules": rules}
                async with self._session.post(f"{base}/buckets", json=body) as answer:
                    await answer.read()  # 422: it is there already; 403: it must be made by hand
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError):
            return  # what is really missing shows with the first write
