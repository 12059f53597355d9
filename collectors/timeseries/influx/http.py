"""The HTTP client for InfluxDB: line protocol to `/api/v2/write` through influxdb-client, InfluxQL to `/query`.

InfluxDB 1.8, 2 and 3 all support these two. An error that is temporary or must be fixed at the server is
StoreUnavailable; only an error in the lines themselves is `Unacceptable`.
"""

import asyncio
import time
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.answers import Result, refusal_of_lines, results_of, trouble_of
from collectors.timeseries.influx.bucket import Bucket
from collectors.timeseries.influx.timeouts import Patience, seconds_to_wait
from collectors.timeseries.store import StoreUnavailable

_LONGEST_QUIET_S: Final = 60.0
_STATEMENTS: Final = 50
"""InfluxQL statements in a request."""
_LONGEST_REQUEST_S: Final = 900.0
"""Timeout of last resort; each request has a shorter one of its own."""
_STORED: Final = 204
"""The only status with which every version of InfluxDB confirms that it has stored all lines."""
_BUSY: Final = frozenset({429, 503})
_FAULTS: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, zlib.error, ValueError)
"""Errors of networks, proxies and truncated responses; ValueError: bytes that are not text."""


class InfluxHttp:
    """One server and one bucket. Made inside the loop."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._client = InfluxDBClientAsync(
            access.url,
            token=access.token or (f"{access.username}:{access.password}" if access.username else ""),
            auth_basic=bool(access.username and not access.token),
            org=access.org or "-",  # InfluxDB 1 has none and the client insists on one
            timeout=int(_LONGEST_REQUEST_S * 1000),
            enable_gzip=access.gzip,
            allow_redirects=False,  # a redirected POST would become a GET
        )
        self._writer = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]  # as below
        self._session = aiohttp.ClientSession(
            headers=access.headers(), timeout=aiohttp.ClientTimeout(total=_LONGEST_REQUEST_S)
        )
        self._quiet_until = 0.0
        self._for_writes = Patience(access.timeout_s)
        self._for_queries = Patience(access.timeout_s)
        self.bucket = Bucket(access, self.request, self._ask)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]  # the client types none of its own
        await self._session.close()

    async def write(self, lines: Sequence[str]) -> None:
        """Return when the server has confirmed that it stored all lines.

        Raises:
            StoreUnavailable: retry all of them later.
            Unacceptable: some of them, or all, are rejected permanently; the others may have been stored.
        """
        self._keep_quiet()
        body = "\n".join(lines).encode("utf-8", "replace")
        try:
            with self._for_writes.measuring():
                async with asyncio.timeout(self._for_writes.limit_s):
                    status = await self._post(body)
        except ApiException as error:
            raise self._explained(error.status, _body_of(error), error.headers or {}) from error
        except _FAULTS as error:
            raise _unreachable(error) from error
        if status != _STORED:
            raise StoreUnavailable(trouble_of(status, b"", self.access.bucket, self.access.org))

    async def _post(self, lines: bytes) -> int:
        """The status of a success. The client's own `write` would not distinguish 201 from 204."""
        _, status, _ = await self._writer.post_write_async(  # type: ignore[no-untyped-call]  # as below
            org=self.access.org or "-", bucket=self.access.bucket, body=lines, precision="ns", async_req=False,
            _return_http_data_only=False, content_type="text/plain; charset=utf-8",
        )  # fmt: skip
        return int(status)

    def _explained(self, status: int, body: bytes, headers: Mapping[str, str]) -> Exception:
        """The exception for an unsuccessful response."""
        refusal = refusal_of_lines(status, body)
        if refusal is not None:
            return refusal
        return self._trouble(status, body, headers)

    def _trouble(self, status: int, body: bytes, headers: Mapping[str, str]) -> StoreUnavailable:
        if status in _BUSY:
            quiet_s = seconds_to_wait(headers.get("Retry-After", ""), datetime.now(UTC))
            self._quiet_until = time.monotonic() + min(quiet_s, _LONGEST_QUIET_S)
        return StoreUnavailable(trouble_of(status, body, self.access.bucket, self.access.org))

    def _keep_quiet(self) -> None:
        """Raise StoreUnavailable while the Retry-After of a busy server applies."""
        if self._quiet_until > time.monotonic():
            raise StoreUnavailable("InfluxDB is busy and requested a pause (Retry-After)")

    async def ask(self, *statements: str) -> list[list[Result]]:
        """Run InfluxQL; return the series of each statement. Times are nanoseconds."""
        await self.bucket.see()
        found: list[list[Result]] = []
        for first in range(0, len(statements), _STATEMENTS):
            found += await self._ask(statements[first : first + _STATEMENTS])
        return found

    async def _ask(self, statements: Sequence[str]) -> list[list[Result]]:
        """Run statements; halve them if the server does not finish all of them in time."""
        try:
            return await self._ask_at_once(statements)
        except TimeoutError as error:
            if len(statements) == 1:
                raise _unreachable(error) from error
        middle = len(statements) // 2
        return await self._ask(statements[:middle]) + await self._ask(statements[middle:])

    async def _ask_at_once(self, statements: Sequence[str]) -> list[list[Result]]:
        form = {"db": self.access.bucket, "epoch": "ns", "q": ";".join(statements)}
        if self.access.org:
            form["org"] = self.access.org
        status, content_type, body = await self.request("POST", "/query", data=form, params=_org_of(self.access))
        if status != 200:
            raise StoreUnavailable(trouble_of(status, body, self.access.bucket, self.access.org))
        return results_of(body, content_type, len(statements))

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, str, bytes]:
        """One request that is not a write: status, content type and body of the response.

        Raises:
            TimeoutError: no complete response in time; the next timeout is longer.
            StoreUnavailable: no response, or the server is busy.
        """
        self._keep_quiet()
        try:
            with self._for_queries.measuring():
                async with (
                    asyncio.timeout(self._for_queries.limit_s),
                    self._session.request(method, self.access.base + path, allow_redirects=False, **options) as answer,
                ):
                    body = await answer.read()
        except TimeoutError:
            raise
        except _FAULTS as error:
            raise _unreachable(error) from error
        if answer.status in _BUSY:
            raise self._trouble(answer.status, body, answer.headers)
        return answer.status, answer.content_type, body


def _org_of(access: Access) -> dict[str, str]:
    return {"org": access.org} if access.org else {}


def _body_of(error: ApiException) -> bytes:
    return error.body if isinstance(error.body, bytes) else str(error.body or "").encode()


def _unreachable(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"InfluxDB: {str(error) or type(error).__name__}")
