"""Services on one PostgreSQL: one owns the alarms, the others answer, tell and take over. Real processes and servers.

What the broker has acknowledged to the load, and only that, must be found afterwards, each once.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy.exc import OperationalError

from gateway import leader as owner_module
from gateway.alarms.alarms import Alarms
from gateway.app import Application
from gateway.settings import load_settings
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from tests.faults.load import ACTIVATIONS_OWED, WANTS_TICKET, Load, expected_activations, load_on
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.postgres import Postgres
from tests.servers.service import Service, wait_until
from tests.servers.service_pair import Pair
from tests.servers.waiting import until
from tests.servers.wire import send

pytestmark = [pytest.mark.server, pytest.mark.timeout(280)]

TAKEN_OVER_S = 10.0
TOLD_S = 1.0
KILLS = 3
PAUSE_S = 15.0
RATE = 300
"""Messages a second: two services, three servers and the load share the machine."""
BUTTON = "gengfu/hq/elevator/{}/telemetry"


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """One that may be stopped and killed: with its data safe on disk, as in production."""
    server = Postgres(durable=True).start()
    yield server
    server.close()


@pytest.fixture
def pair(tmp_path: Path, postgres: Postgres, influxdb: InfluxDB, mosquitto: Mosquitto) -> Iterator[Pair]:
    pair = Pair(tmp_path, postgres, influxdb, mosquitto)
    yield pair
    for service in pair.services:
        service.kill()
    postgres.drop(pair.name)


def press(mosquitto: Mosquitto, lift: str) -> None:
    """Somebody in a lift presses the alarm button."""
    asyncio.run(send(mosquitto.port, [(BUTTON.format(lift), b'{"alarm_button": true}')]))


def check_everything_is_there_once(pair: Pair, load: Load) -> None:
    wait_until(lambda: len(pair.samples()) >= len(load.samples), "every sample is in the history", 120)
    wait_until(lambda: pair.count("event") >= len(load.fires), "every event is in the database", 60)
    ticketless = f"alarm WHERE {WANTS_TICKET} AND id NOT IN (SELECT alarm FROM ticket_alarm)"
    wait_until(lambda: pair.count(ticketless) == 0, "every alarm has its ticket", 60)
    wait_until(lambda: pair.count(ACTIVATIONS_OWED) == 0, "every activation has its ticket", 60)
    assert all(service.stop() == 0 for service in pair.services)
    assert len(load.samples) > 1_000
    assert len(load.fires) > 10
    assert pair.samples() == Counter(load.samples.keys())
    activations = Counter(
        equipment for (equipment,) in pair.rows("SELECT equipment FROM activation WHERE rule = 'pump.bearing_very_hot'")
    )
    assert activations == Counter({pump: expected_activations(turns) for pump, turns in turns_of(load).items()})
    fires = Counter(part for (part,) in pair.rows("SELECT part FROM activation WHERE rule = 'fire_panel.fire'"))
    assert fires == Counter({f"1-{address}": 1 for address in load.fires})
    events = Counter(json.loads(fields)["address"] for (fields,) in pair.rows("SELECT fields FROM event"))
    assert events == Counter(load.fires)
    tickets = Counter(key for (key,) in pair.rows("SELECT open_key FROM ticket"))
    alarms = {key for (key,) in pair.rows(f"SELECT open_key FROM alarm WHERE {WANTS_TICKET} AND kind <> 'fire_panel'")}
    assert {key for key in tickets if "/fire:" not in key} == alarms
    assert set(tickets.values()) == {1}
    assert len(tickets) == len(alarms) + 1, "all fire points of the panel are one emergency"
    assert pair.count(ACTIVATIONS_OWED) == 0


def turns_of(load: Load) -> Counter[str]:
    return Counter(pump for pump, _ in load.samples)


def test_a_killed_owner_is_followed_within_ten_seconds_and_nothing_is_lost_or_doubled(
    pair: Pair, mosquitto: Mosquitto
) -> None:
    rng = random.Random(11)
    owner, other = pair.start()
    with load_on(mosquitto, RATE) as load:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.5, 2.0))  # a random moment is the point of this test
            owner.kill()
            wait_until(other.owns, "the other service has taken over", TAKEN_OVER_S)
            owner.start()
            wait_until(owner.is_ready, "the killed one stands by")
            owner, other = other, owner
        load.stop()
    check_everything_is_there_once(pair, load)


def test_an_owner_that_slept_writes_nothing_when_it_wakes_and_stands_by(pair: Pair, mosquitto: Mosquitto) -> None:
    owner, other = pair.start()
    with load_on(mosquitto, RATE) as load:
        time.sleep(1.0)  # under load
        asleep_at = time.monotonic()
        owner.pause()
        wait_until(other.owns, "the other service has taken over", TAKEN_OVER_S)
        time.sleep(PAUSE_S - (time.monotonic() - asleep_at))
        (epoch,) = pair.rows("SELECT epoch FROM lease")
        owner.resume()
        wait_until(lambda: owner.components()["leader"] == "standing by", "the one that slept stands by")
        assert "another process has become the leader" in owner.log.read_text()
        wait_until(other.owns, "the owner has its connection to the broker back")
        assert pair.rows("SELECT epoch FROM lease") == [epoch]
        time.sleep(1.0)
        load.stop()
    check_everything_is_there_once(pair, load)


def test_who_stands_by_answers_and_acknowledges_also_while_nobody_owns_the_alarms(
    pair: Pair, mosquitto: Mosquitto
) -> None:
    owner, other = pair.start()
    press(mosquitto, "L-1")
    press(mosquitto, "L-2")
    alarms = wait_until(
        lambda: len(found := other.get("/api/v1/alarms?state=open")["items"]) == 2 and found, "both alarms are there"
    )
    wait_until(lambda: len(other.get("/api/v1/tickets")["items"]) == 2, "both tickets are there")
    assert {"hq:L-1", "hq:L-2"} <= {item["id"] for item in other.get("/api/v1/equipment")["items"]}
    first, second = (f"/api/v1/alarms/{alarm['id']}/acknowledge" for alarm in alarms)
    assert other.post(first, {"version": alarms[0]["version"]})[0] == 200
    wait_until(lambda: states(other) == {"open", "acknowledged"}, "the owner follows with the ticket")
    owner.kill()
    assert other.post(second, {"version": alarms[1]["version"]})[0] == 200
    wait_until(other.owns, "the other service has taken over", TAKEN_OVER_S)
    wait_until(lambda: states(other) == {"acknowledged"}, "the new owner follows with the ticket")


def test_the_watchdogs_url_answers_for_the_pair_on_both(
    tmp_path: Path, postgres: Postgres, influxdb: InfluxDB, mosquitto: Mosquitto
) -> None:
    pair = Pair(tmp_path, postgres, influxdb, mosquitto, GENGFU_ALARMS__WATCHDOG_S="9")
    try:
        owner, other = pair.start()
        wait_until(lambda: owner.ask("/watchdog")[0] == 200, "the way is open", 20)
        wait_until(lambda: other.ask("/watchdog")[0] == 200, "who stands by hears of it", 20)
        owner.pause()  # it owns nothing more, and its port still takes connections
        wait_until(other.owns, "the other service has taken over", TAKEN_OVER_S)
        wait_until(lambda: other.ask("/watchdog")[0] == 200, "the way is open again", 20)
        owner.kill()
        mosquitto.pause()
        try:
            wait_until(lambda: other.ask("/watchdog")[0] == 503, "the URL fails", 11)
        finally:
            mosquitto.resume()
        owner.start_ready()
        wait_until(lambda: owner.ask("/watchdog")[0] == 200, "who stands by hears of it too", 60)
    finally:
        for service in pair.services:
            service.kill()
        postgres.drop(pair.name)


def test_a_rule_that_is_changed_by_way_of_who_stands_by_is_taken_up_by_the_owner_and_by_the_next(
    pair: Pair, mosquitto: Mosquitto
) -> None:
    owner, other = pair.start()
    warm = json.dumps({"bearing_temperature": 75}).encode()
    asyncio.run(send(mosquitto.port, [("gengfu/hq/pump/P-1/telemetry", warm)]))
    wait_until(
        lambda: "hq:P-1" in {item["id"] for item in other.get("/api/v1/equipment")["items"]}, "the pump is known there"
    )
    lower = {"above": 70, "on_delay": "0s"}
    change = {"rule": "pump.bearing_hot", "site": "hq", "equipment": "hq:P-1", "changes": lower, "version": 0}
    assert other.post("/api/v1/rules", change)[0] == 200
    wait_until(lambda: raised(other) == {"pump.bearing_hot": True}, "the owner judges by the new limit")
    owner.kill()
    back = {"site": "hq", "equipment": "hq:P-1", "to": 0, "version": 1}
    assert other.post("/api/v1/rules/pump.bearing_hot/roll-back", back)[0] == 200
    wait_until(other.owns, "the other service has taken over", TAKEN_OVER_S)
    wait_until(lambda: raised(other) == {"pump.bearing_hot": False}, "the new owner goes by the file's limit again")


def raised(service: Service) -> dict[str, bool]:
    """Rules with an open alarm on the pump, and whether each is active."""
    return {
        alarm["rule"]: alarm["active"] for alarm in service.get("/api/v1/alarms?state=open&equipment=hq:P-1")["items"]
    }


def states(service: Service) -> set[str]:
    return {ticket["state"] for ticket in service.get("/api/v1/tickets")["items"]}


async def test_an_alarm_reaches_the_listeners_of_who_stands_by_within_a_second(
    pair: Pair, mosquitto: Mosquitto
) -> None:
    _, other = await asyncio.to_thread(pair.start)
    address = f"http://127.0.0.1:{other.http_port}/api/v1/live"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        while (await socket.receive_json(timeout=20))["type"] != "system":
            continue
        for lift in ("L-1", "L-2", "L-3"):
            sent_at = time.monotonic()
            await send(mosquitto.port, [(BUTTON.format(lift), b'{"alarm_button": true}')])
            seen: dict[str, float] = {}
            while {"alarm", "equipment"} - seen.keys():
                message = await socket.receive_json(timeout=20)
                if lift in json.dumps(message):
                    seen.setdefault(message["type"], time.monotonic() - sent_at)
            assert seen["alarm"] < TOLD_S, seen
            assert seen["equipment"] < TOLD_S, seen


def test_a_delay_and_an_adoption_go_over_to_the_next_owner(pair: Pair, mosquitto: Mosquitto) -> None:
    """What an owner holds in memory: delays that run, values that conditions go by, the ledger."""
    owner, other = pair.start()
    hot = [("gengfu/hq/pump/P-1/telemetry", b'{"bearing_temperature": 97.5, "running": true}')]
    asyncio.run(send(mosquitto.port, hot))
    (pump,) = wait_until(lambda: other.get("/api/v1/equipment?kind=pump")["items"], "the other one lists the pump")
    assert (
        other.post(
            "/api/v1/equipment/hq:P-1/adopt", {"version": pump["version"], "name": {"en": "Pump", "zh-CN": "泵"}}
        )[0]
        == 200
    )
    wait_until(lambda: owner.get("/api/v1/equipment/hq:P-1")["adopted"], "the owner knows of the adoption")
    owner.kill()
    wait_until(other.owns, "the other service has taken over", TAKEN_OVER_S)
    wait_until(
        lambda: rules_of(other) == {"pump.bearing_very_hot", "pump.bearing_hot"},
        "the delay that ran before the take-over ends after it",
    )
    assert other.get("/api/v1/equipment/hq:P-1/latest")["latest"]["bearing_temperature"]["value"] == 97.5


def rules_of(service: Service) -> set[str]:
    return {alarm["rule"] for alarm in service.get("/api/v1/alarms?state=open")["items"]}


@pytest.fixture
def alone(tmp_path: Path, own_postgres: Postgres, mosquitto: Mosquitto) -> Iterator[Service]:
    """One service on a PostgreSQL of its own, with its history beside it."""
    url = own_postgres.create("gengfu_alone").replace("+asyncpg", "")
    service = Service(tmp_path / "data", mosquitto.port, GENGFU_STORAGE__DATABASE_URL=url)
    yield service
    service.kill()


@pytest.mark.parametrize("end", [Postgres.stop, Postgres.kill], ids=["stopped", "killed"])
def test_a_database_that_goes_and_comes_back_costs_nothing(
    end: Callable[[Postgres], None], alone: Service, own_postgres: Postgres, mosquitto: Mosquitto
) -> None:
    alone.start()
    wait_until(alone.owns, "the service is ready")
    with load_on(mosquitto, RATE) as load:
        time.sleep(1.0)  # under load
        end(own_postgres)
        wait_until(lambda: not alone.is_ready(), "the service says that it waits")
        status, problem = alone.ask("/api/v1/alarms")
        assert (status, problem["code"]) == (503, "database_unavailable")
        press(mosquitto, "L-1")
        time.sleep(4.0)  # long enough for the lease to be in doubt
        own_postgres.start()
        wait_until(alone.owns, "the service is ready again", 20)
        load.stop()

    def count(what: str) -> int:
        return int(own_postgres.run(f"SELECT count(*) FROM {what}", "gengfu_alone")[0][0])

    turns = turns_of(load)
    owed = sum(expected_activations(number) for number in turns.values()) + len(load.fires)
    hot_or_fire = "activation WHERE rule IN ('pump.bearing_very_hot', 'fire_panel.fire')"
    wait_until(lambda: count("event") >= len(load.fires), "every event is in the database")
    wait_until(lambda: count(hot_or_fire) >= owed, "every activation is in the database")
    ticketless = f"alarm WHERE {WANTS_TICKET} AND id NOT IN (SELECT alarm FROM ticket_alarm)"
    wait_until(lambda: count(ticketless) == 0, "every alarm has its ticket")
    assert (count("event"), count(hot_or_fire)) == (len(load.fires), owed)
    assert count("alarm WHERE equipment = 'L-1'") == 1


def test_a_service_that_starts_before_its_database_waits_for_it(alone: Service, own_postgres: Postgres) -> None:
    own_postgres.stop()
    alone.start()
    wait_until(lambda: alone.log.exists() and "waiting for the database" in alone.log.read_text(), "it waits")
    own_postgres.start()
    wait_until(alone.owns, "it is ready")


async def test_alarms_that_cannot_be_taken_up_at_the_start_are_taken_up_when_the_database_lets_us(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite too, where somebody's backup may lock the file."""
    real, failures = Alarms.load, [OperationalError("SELECT", {}, Exception("database is locked"))]

    async def load(alarms: Alarms) -> None:
        if failures:
            raise failures.pop()
        await real(alarms)

    monkeypatch.setattr(Alarms, "load", load)
    overrides = {"broker": {"port": mosquitto.port}, "http": {"port": 0}, "storage": {"data_dir": tmp_path}}
    application = Application(load_settings(None, overrides))
    running = asyncio.create_task(application.run())
    await until(
        lambda: "the database does not answer" in application.components().get("leader", ""), "it says why it waits"
    )
    await until(lambda: set(application.components().values()) == {"ready"}, "every component works")
    application.stop()
    await running


async def test_the_lease_is_renewed_while_the_alarms_are_taken_up(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or with a large estate two services would take it from each other for ever, and nobody would own the alarms."""
    monkeypatch.setattr(owner_module, "RENEW_S", 0.02)
    real, real_renew, renewed, taken_up = Alarms.load, lease.renew, list[int](), list[bool]()

    async def renew(database: Database, epoch: int, now: int) -> None:
        await real_renew(database, epoch, now)
        if not taken_up:
            renewed.append(now)

    async def load(alarms: Alarms) -> None:
        await until(lambda: len(renewed) >= 3, "the lease was renewed three times")
        await real(alarms)
        taken_up.append(True)

    monkeypatch.setattr(Alarms, "load", load)
    monkeypatch.setattr(lease, "renew", renew)
    overrides = {"broker": {"port": mosquitto.port}, "http": {"port": 0}, "storage": {"data_dir": tmp_path}}
    application = Application(load_settings(None, overrides))
    running = asyncio.create_task(application.run())
    await until(lambda: taken_up, "the alarms are taken up")
    await until(lambda: set(application.components().values()) == {"ready"}, "every component works")
    application.stop()
    await running
