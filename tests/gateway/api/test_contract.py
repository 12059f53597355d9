"""Requests that nobody would think of, made from the OpenAPI document, with a login of each role and without one.

No answer is a 5xx, and each is one that the document declares: its status, its type and its structure.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api.http.openapi import make_document
from gateway.api.http.server import route_table
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from tests.builders.alarms import sqlite_address
from tests.servers.api_server import COOKIE, ApiServer, open_api_server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SAYING_NO = {path for path, route in route_table() if 503 in route.also}
"""What watches the service says by 503 that it is not well: declared, and no failure of its own."""
EXAMPLES = 4
"""Of each operation for each role; derandomized, so that it finds the same each time."""
SCHEMA = schemathesis.openapi.from_dict(make_document(route_table()))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a thread of its own, with an alarm and a ticket; the requests are made in this one."""
    folder = tmp_path_factory.mktemp("contract")
    told: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        database = Database(sqlite_address(folder / "gengfu.db"))
        await migrate(database, folder)
        async with open_api_server(database, folder) as api:
            await fill(api)
            told.append(str(api.client.make_url("")).rstrip("/"))
            ready.set()
            await stop.wait()
        await database.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="server")
    thread.start()
    assert ready.wait(60)
    yield told[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


async def fill(api: ApiServer) -> None:
    await api.raise_fire()


@pytest.mark.parametrize("who", [None, *Role])
def test_every_answer_is_one_that_the_document_declares(address: str, who: Role | None) -> None:
    headers = {"Cookie": f"{COOKIE}=login-of-{who}"} if who else {}
    for operation in OPERATIONS:
        if operation.path == "/api/v1/session" and operation.method.upper() == "DELETE" and who:
            continue  # it would log this role out; `test_logins.py` is about that

        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            response = case.call(base_url=address, headers=headers)
            says_no = case.path in SAYING_NO and response.status_code == 503
            case.validate_response(response, checks=CHECKS[1:] if says_no else CHECKS)

        try:
            ask()
        except FailureGroup as failures:  # so that each failure is told, not only that there were some
            pytest.fail(f"{operation.label}: {'; '.join(str(failure) for failure in failures.exceptions)}")


def test_the_document_has_an_operation_for_each_route() -> None:
    assert len(OPERATIONS) == len(route_table())
