"""Servers that several tests talk to: each test has its own, with its own port and folder."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from tests.builders.alarms import sqlite_address
from tests.deploy.deployed import make_secrets
from tests.gateway.storage.transaction_guard import checked, install
from tests.servers.api_server import ApiServer, open_api_server
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.postgres import Postgres

settings.register_profile("untimed", deadline=None)  # machines are shared: speed is measured by `make bench`
settings.load_profile("untimed")
TEMPLATE = "gengfu_template"
install()


@pytest.fixture(autouse=True)
def transactions_do_nothing_but_statements() -> Iterator[None]:
    """In every test."""
    yield from checked()


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start a Mosquitto; `extra` are further lines for its configuration."""
    started: list[Mosquitto] = []

    def start(extra: str = "") -> Mosquitto:
        broker = Mosquitto(tmp_path / f"mosquitto-{len(started)}", extra).start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """One that lets everybody in."""
    return start_mosquitto()


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """One server for all tests of a worker; each test takes a database of its own."""
    server = InfluxDB(tmp_path_factory.mktemp("influxdb")).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Passwords and certificates of a new set-up; a test copies what it changes."""
    return make_secrets(tmp_path_factory.mktemp("set-up") / "secrets")


@pytest.fixture(scope="session")
def other_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of somebody else's."""
    return make_secrets(tmp_path_factory.mktemp("other") / "secrets")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of this version, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "gengfu.db"
    asyncio.run(_migrate(sqlite_address(file)))
    return file


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database, Path())
    await database.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of a worker; each test takes a database of its own. TEMPLATE has every table."""
    server = Postgres().start()

    asyncio.run(_migrate(server.create(TEMPLATE)))
    yield server
    server.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def engine(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on: every test of the service's memory runs on both."""
    return str(request.param)


@pytest.fixture
def database_address(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of this test's own, with every table."""
    if engine == "sqlite":
        file = tmp_path / "gengfu.db"
        shutil.copy(request.getfixturevalue("migrated_file"), file)
        yield sqlite_address(file)
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.new_name()
    yield server.create(name, TEMPLATE)
    server.drop(name)


@pytest.fixture
async def database(database_address: str) -> AsyncIterator[Database]:
    database = Database(database_address)
    yield database
    await database.close()


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A real HTTP server with a small ledger."""
    async with open_api_server(database, tmp_path) as opened:
        yield opened
