"""A real HTTP server on a free port, with a small ledger behind it."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry
from sqlalchemy import insert
from yarl import URL

from collectors.timeseries.sqlite.store import SqliteStore
from collectors.wire.fields import Kind
from gateway.alarms.built_in.synthetic_probe import SyntheticProbe
from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.whatif.rule_tests import RuleTests
from gateway.api.http.addresses import Entrance
from gateway.api.http.rate_limits import Pace, Paces
from gateway.api.http.route import Services
from gateway.api.http.server import make_app
from gateway.api.live.feed import LiveFeed
from gateway.equipment.ledger import Equipment, Ledger, Site
from gateway.people.accounts import new_row
from gateway.people.approvals.rules import ApprovalRules
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.login_rows import digest_of
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.people import DEMO_PASSWORD, People, enter_demo_people, make_people
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.tables import alarm, login, person, role_grant, ticket
from gateway.tickets.attachments.files import AttachmentFiles
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders.alarms import (
    T0,
    WINDOW_MS,
    Clock,
    bearing,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    rows_of,
)

Client = TestClient[Any, Any]
COOKIE = "gengfu_login"
NO_HURRY = Paces(Pace(1e9, 1e9), Pace(1e9, 1e9))
"""No test waits for its turn; `test_rate_limits.py` is about those that must."""
DEMO_HASH = PasswordHasher().hash(DEMO_PASSWORD)
"""Made once: each takes a tenth of a second."""


class ApiServer:
    """A server with one pump, one panel, and on request an alarm with its ticket."""

    def __init__(
        self, client: Client, services: Services, feed: LiveFeed, clock: Clock, components: dict[str, str]
    ) -> None:
        self.client = client
        self.services = services
        self.feed = feed
        self.clock = clock
        self.components = components

    @property
    def people(self) -> People:
        return self.services.people

    def log_in(self, role: Role) -> None:
        """As the demo's account of a role, without the time that checking its password takes."""
        self.show(f"login-of-{role}")

    async def log_in_with(self, grants: dict[str, tuple[Role, ...]], username: str = "somebody") -> str:
        """As somebody with these roles. Returns their id."""
        await self.enter({username: grants})
        self.show(f"login-of-{username}")
        return f"demo:{username}"

    async def enter(self, people: dict[str, dict[str, tuple[Role, ...]]]) -> None:
        """People with the demo's password, and a login each: username -> roles by site."""
        now = self.clock()
        rows = [
            new_row(f"demo:{name}", name, {"en": name, "zh-CN": name}, DEMO_HASH, now, demo=True) for name in people
        ]
        held = [
            {"person": f"demo:{name}", "site": site, "role": role.value, "granted_at": now}
            for name, grants in people.items() for site, roles in grants.items() for role in roles
        ]  # fmt: skip
        async with self.services.database.transaction() as connection:
            await connection.execute(insert(person), rows)
            if held:
                await connection.execute(insert(role_grant), held)
            await connection.execute(insert(login), [login_row(f"demo:{name}", name, now) for name in people])
        await self.people.accounts.refresh()

    def show(self, cookie: str) -> None:
        """Come with this cookie from now on."""
        self.client.session.cookie_jar.clear()
        self.client.session.cookie_jar.update_cookies({COOKIE: cookie}, self.client.make_url("/"))

    def log_out(self) -> None:
        """Come with none."""
        self.client.session.cookie_jar.clear()

    async def get(self, path: str | URL, **options: Any) -> tuple[int, Any]:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.ask("POST", path, json=body)

    async def ask(self, method: str, path: str | URL, **options: Any) -> tuple[int, Any]:
        async with self.client.request(method, path, **options) as answer:
            if answer.content_type in {"application/json", "application/problem+json"}:
                return answer.status, await answer.json()
            return answer.status, await answer.read() or None

    async def raise_fire(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """An alarm and its emergency ticket, as their rows."""
        desk = await open_desk(self.services.database, fire_rule(), make_rule(), clock=self.clock)
        await desk.decide(panel_event(self.clock()))
        desk.clock.now += FACTS_TAKE_MS
        await desk.tickets.tick()
        return await only_row(desk.database, alarm), await only_row(desk.database, ticket)

    async def raise_hot(self) -> dict[str, Any]:
        """An alarm of the pump that is not of life safety, as its row; its ticket has not opened yet."""
        desk = await open_desk(self.services.database, fire_rule(), make_rule(), clock=self.clock)
        await desk.decide(bearing(91, self.clock()))
        (row,) = [row for row in await rows_of(desk.database, alarm) if row["rule"] == "pump.hot"]
        return row


@contextlib.asynccontextmanager
async def open_api_server(
    database: Database,
    folder: Path,
    entrance: Entrance | None = None,
    now: Callable[[], int] | None = None,
    approval_rules: ApprovalRules | None = None,
    web_app: Path | None = None,
) -> AsyncIterator[ApiServer]:
    """Start the server; the live feed does not run unless a test runs it. `now` makes a clock beside the wall's."""
    clock = Clock()
    ledger = Ledger(database, 10, "UTC")
    places = [Site(code, {"en": code, "zh-CN": code}, "Asia/Shanghai") for code in ("HQ", "B")]
    items = [
        Equipment(
            "HQ", "P-1", Kind.PUMP.value, {"en": "Pump 1", "zh-CN": "一号泵"}, {"en": "Basement", "zh-CN": "地下室"}
        ),
        Equipment("HQ", "FP-1", Kind.FIRE_PANEL.value, {"en": "Panel", "zh-CN": "主机"}),
        Equipment("B", "P-1", Kind.PUMP.value, {"en": "Pump B", "zh-CN": "乙泵"}),
    ]
    await ledger.enter(places, items, CLOCK, T0)
    store = SqliteStore(folder / "history.db")
    await store.open()
    components = {"database": "ready"}
    people = make_people(
        database, 15, SecretSeal(folder / "second_factor.key"), demo=True, approval_rules=approval_rules
    )
    await people.hashes.open()
    await enter_demo_people(people, T0, DEMO_HASH)
    async with database.transaction() as connection:
        rows = [login_row(f"demo:{role}", role.value, T0) for role in Role]
        await connection.execute(insert(login), rows)
    rule_tests = RuleTests(store, database, WINDOW_MS)
    attachments = AttachmentFiles(folder / "attachments", 2 * 1024 * 1024)
    services = Services(
        database, ledger, store, people, CollectorRegistry(), lambda: dict(components), now or clock,
        SyntheticProbe(60, clock), rule_tests, attachments, clock, rules=shipped_rules(),
    )  # fmt: skip
    feed = LiveFeed(services)
    app = make_app(services, feed, web_app, entrance or Entrance(paces=NO_HURRY))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield ApiServer(client, services, feed, clock, components)
    people.hashes.close()
    attachments.close()
    rule_tests.close()
    await store.close()


def login_row(identity: str, username: str, now: int) -> dict[str, Any]:
    return {
        "id": f"login-{username}"[:36], "digest": digest_of(f"login-of-{username}"), "previous_digest": None,
        "previous_until": None, "rotate": False, "person": identity, "origin": "192.0.2.7", "agent": "a test",
        "created_at": now, "last_used_at": now,
    }  # fmt: skip
