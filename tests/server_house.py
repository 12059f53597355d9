"""A real HTTP server on a free port, with a small ledger behind it."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from collectors.fields import Kind
from collectors.timeseries.sqlite import SqliteStore
from gateway.api.live_feed import LiveFeed
from gateway.api.routes import Services
from gateway.api.server import COOKIE, LOOPBACK, make_app
from gateway.equipment.ledger import Equipment, Ledger, Site
from gateway.people.accounts import LOGIN_LIFETIME_MS, DemoAccounts, Person
from gateway.people.audit import CLOCK
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.tables import alarm, ticket
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders import T0, Clock, fire_rule, make_rule, only_row, open_desk, panel_event

Client = TestClient[Any, Any]
ACCOUNTS = DemoAccounts()


class House:
    """A server with one pump, one panel, and on request an alarm with its ticket."""

    def __init__(self, client: Client, services: Services, feed: LiveFeed, clock: Clock, parts: dict[str, str]) -> None:
        self.client = client
        self.services = services
        self.feed = feed
        self.clock = clock
        self.parts = parts

    def log_in(self, role: Role) -> None:
        """As the demo's account of a role, without the time that checking its password takes."""
        self.log_in_as(ACCOUNTS._people[role.value])

    def log_in_as(self, person: Person) -> None:
        token = f"login of {person.username}".replace(" ", "-")
        ACCOUNTS._logins[token] = (person, self.clock() + LOGIN_LIFETIME_MS)
        self.client.session.cookie_jar.clear()
        self.client.session.cookie_jar.update_cookies({COOKIE: token}, self.client.make_url("/"))

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.ask("POST", path, json=body)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.client.request(method, path, **options) as answer:
            return answer.status, await answer.json() if answer.status != 204 else None

    async def raise_fire(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """An alarm and its emergency ticket, as their rows."""
        desk = await open_desk(self.services.database, fire_rule(), make_rule(), clock=self.clock)
        await desk.decide(panel_event(self.clock()))
        desk.clock.now += FACTS_TAKE_MS
        await desk.tickets.tick()
        return await only_row(desk.database, alarm), await only_row(desk.database, ticket)


@contextlib.asynccontextmanager
async def open_house(database: Database, folder: Path, now: Callable[[], int] | None = None) -> AsyncIterator[House]:
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
    parts = {"database": "ready"}
    services = Services(
        database, ledger, store, ACCOUNTS, CollectorRegistry(), lambda: dict(parts), now or clock, clock
    )
    feed = LiveFeed(services)
    app = make_app(services, feed, None, LOOPBACK)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield House(client, services, feed, clock, parts)
    await store.close()
