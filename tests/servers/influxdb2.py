"""A stand-in for InfluxDB 2, which is not to be had on this machine: it repeats recorded answers, and is no InfluxDB.

It keeps lines in memory and knows as much InfluxQL as a test asks. What it answers word for word:

* the refusal of 2.7.12 and later for age: https://docs.influxdata.com/influxdb/v2/write-data/troubleshoot/ (its
  example, of May 2025), the same words as in influxdata/influxdb pull request 26257; headers X-Influxdb-Version and
  X-Platform-Error-Code as users of 2.7.12 show them
* the refusal of 2.7.11 and before: influxdata/influxdb, coordinator/points_writer.go
* the conflict of types, status 422 with `unprocessable entity`; an unparsable line, 400 with `invalid`
* unknown organisation, unknown bucket (404), no permission (403), a wrong token (401): http/write_handler.go,
  http/write_handler_test.go and tenant/error.go of influxdata/influxdb
* `/query` takes the token's organisation, whatever `org` says: http/legacy/influxqld_handler.go; CREATE DATABASE and
  SHOW RETENTION POLICIES are not among the statements of 2.x: docs.influxdata.com, "InfluxQL support"
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aiohttp import web

ORG, TOKEN, BUCKET = "gengfu", "t0ken", "history"
_ORG_ID: Final = "8ea399c18bace9cc"
_BUCKET_ID: Final = "9f282d63c7d3a5c0"
_LINE: Final = re.compile(r"(?P<key>(?:\\.|[^ ])+) (?P<fields>.+) (?P<at>-?\d+)")
_WANTED: Final = re.compile(r'FROM "(?P<kind>\w+)"')


class Refusal(NamedTuple):
    """Status, code and message of an answer that is no success."""

    status: int
    code: str
    message: str


NO_PERMISSION: Final = Refusal(403, "forbidden", "insufficient permissions for write")
WRONG_TOKEN: Final = Refusal(401, "unauthorized", "unauthorized access")


class InfluxDB2:
    """Recorded answers. `requests` are the lines of each write, in order; `lines` is what it would have stored."""

    def __init__(self, *, kept_s: int = 0, wording: str = "2.9") -> None:
        self.url = ""
        self.kept_s = kept_s
        """0: for ever."""
        self.wording = wording
        self.requests: list[list[str]] = []
        self.queries: list[tuple[dict[str, str], str]] = []
        """Parameters of the address, and the statements."""
        self.lines: dict[tuple[str, int], str] = {}
        self.buckets = {BUCKET: _BUCKET_ID}
        self.may_see_buckets = self.may_make_buckets = True
        self.float_fields: set[str] = set()
        """Fields that exist as float: what else comes for them is a conflict."""
        self.seconds_a_statement = self.seconds_a_write = 0.0
        self.answers: dict[str, web.Response | Refusal] = {}
        """Answers instead of its own, by address."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["InfluxDB2"]:
        app = web.Application(client_max_size=1 << 26)
        app.add_routes(
            [
                web.post("/api/v2/write", self._write),
                web.post("/query", self._query),
                web.get("/api/v2/buckets", self._list_buckets),
                web.post("/api/v2/buckets", self._make_bucket),
                web.get("/api/v2/orgs", self._list_orgs),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    # -- write -----------------------------------------------------------------------------------------

    async def _write(self, request: web.Request) -> web.StreamResponse:
        lines = (await request.text()).splitlines()
        await asyncio.sleep(self.seconds_a_write)
        self.requests.append(lines)
        refusal = self._instead(request) or self._org_fault(request) or self._bucket_fault(request.query["bucket"])
        if refusal is not None:
            return refusal
        bound = time.time_ns() - self.kept_s * 10**9 if self.kept_s else -(2**63)
        parsed = [(line, found) for line in lines if (found := _LINE.fullmatch(line))]
        expired = [(line, found) for line, found in parsed if int(found["at"]) < bound]
        conflicts = [line for line, found in parsed if (line, found) not in expired and self._conflict_of(found)]
        for line, found in parsed:
            if (line, found) not in expired and line not in conflicts:
                self.lines[found["key"], int(found["at"])] = found["fields"]
        if conflicts:  # it speaks of the age of other points only where nothing else was wrong
            return self._conflict(conflicts)
        return self._expired([found for _, found in expired], bound) if expired else web.Response(status=204)

    def _conflict_of(self, found: "re.Match[str]") -> str:
        fields = dict(part.split("=", 1) for part in re.split(r"(?<!\\),", found["fields"]))
        wrong = (name for name in self.float_fields if fields.get(name, "0")[0] not in "-0123456789")
        return next(wrong, "")

    def _conflict(self, lines: list[str]) -> web.Response:
        first = _LINE.fullmatch(lines[0])
        assert first is not None
        field, measurement = self._conflict_of(first), first["key"].partition(",")[0]
        return refused(
            422,
            "unprocessable entity",
            f'failure writing points to database: partial write: field type conflict: input field "{field}" on '
            f'measurement "{measurement}" is type boolean, already exists as type float dropped={len(lines)}',
        )

    def _expired(self, found: "list[re.Match[str]]", bound: int) -> web.Response:
        if self.wording == "2.7.11":
            text = f"partial write: points beyond retention policy dropped={len(found)}"
        else:
            ordered = sorted(found, key=lambda one: int(one["at"]))
            why = f"dropped because it violates a Retention Policy Lower Bound at {_rfc3339(bound)}"
            ends = ", ".join(
                f"{which} point {one['key']} at {_rfc3339(int(one['at']))} {why}"
                for which, one in (("oldest", ordered[0]), ("newest", ordered[-1]))
            )
            text = (
                f"partial write: dropped {len(found)} points outside retention policy of duration "
                f"{self.kept_s // 3600}h0m0s - {ends} dropped={len(found)} for database: {_BUCKET_ID} "
                "for retention policy: autogen"
            )
        return refused(422, "unprocessable entity", f"failure writing points to database: {text}")

    # -- query -----------------------------------------------------------------------------------------

    async def _query(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        statements = str(form["q"])
        self.queries.append((dict(request.query), statements))
        instead = self._instead(request)
        if instead is not None:
            return instead
        await asyncio.sleep(self.seconds_a_statement * len(statements.split(";")))
        results = [self._result(number, one) for number, one in enumerate(statements.split(";"))]
        return web.json_response({"results": results})

    def _result(self, number: int, statement: str) -> dict[str, Any]:
        result: dict[str, Any] = {"statement_id": number}
        if statement.startswith(("CREATE DATABASE", "SHOW RETENTION POLICIES")):
            result["error"] = "not implemented: " + " ".join(statement.split()[:2])
        return result

    # -- buckets ---------------------------------------------------------------------------------------

    async def _list_buckets(self, request: web.Request) -> web.StreamResponse:
        refusal = self._instead(request) or self._org_fault(request)
        if refusal is not None:
            return refusal
        rules = (
            [{"type": "expire", "everySeconds": self.kept_s, "shardGroupDurationSeconds": 86400}] if self.kept_s else []
        )
        names = [name for name in self.buckets if self.may_see_buckets and name == request.query.get("name", name)]
        entries = [
            {"id": self.buckets[name], "orgID": _ORG_ID, "type": "user", "name": name, "retentionRules": rules}
            for name in names
        ]
        return web.json_response({"links": {"self": "/api/v2/buckets"}, "buckets": entries})

    async def _list_orgs(self, request: web.Request) -> web.StreamResponse:
        refusal = self._instead(request) or self._org_fault(request)
        return refusal or web.json_response({"links": {}, "orgs": [{"id": _ORG_ID, "name": ORG}]})

    async def _make_bucket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._instead(request)
        if refusal is not None:
            return refusal
        if not self.may_make_buckets:
            return refused(401, "unauthorized", f"write:orgs/{_ORG_ID}/buckets is unauthorized")
        body = await request.json()
        if body["name"] in self.buckets:
            return refused(422, "conflict", f"bucket with name {body['name']} already exists")
        self.buckets[body["name"]] = _BUCKET_ID
        self.kept_s = sum(rule["everySeconds"] for rule in body["retentionRules"])
        return web.json_response({"id": _BUCKET_ID, **body}, status=201)

    # -- all -------------------------------------------------------------------------------------------

    def _instead(self, request: web.Request) -> web.Response | None:
        answer = self.answers.get(request.path)
        if isinstance(answer, Refusal):
            return refused(*answer)
        if answer is not None:  # a response can be sent once
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            return refused(*WRONG_TOKEN)
        return None

    def _org_fault(self, request: web.Request) -> web.Response | None:
        org = request.query.get("org", "")
        return None if org == ORG else refused(404, "not found", f'organization name "{org}" not found')

    def _bucket_fault(self, name: str) -> web.Response | None:
        return None if name in self.buckets else refused(404, "not found", f'bucket "{name}" not found')


def refused(status: int, code: str, message: str) -> web.Response:
    """An answer as InfluxDB 2 gives it, with its headers."""
    headers = {"X-Influxdb-Build": "OSS", "X-Influxdb-Version": "v2.9.0", "X-Platform-Error-Code": code}
    return web.json_response({"code": code, "message": message}, status=status, headers=headers)


def _rfc3339(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 10**9, UTC).isoformat().replace("+00:00", "Z")
