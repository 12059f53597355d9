"""The live feed over a real WebSocket: snapshot, numbered changes, beats, and who may see what."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from collectors.wire.reading import Reading
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.api.live import feed as live_feed
from gateway.equipment.ledger import Ledger
from gateway.people.permissions import Role
from gateway.storage.outbox.outbox import Fact, newest_fact
from gateway.storage.tables import alarm
from gateway.supervision import duties as duties_module
from gateway.supervision.duties import Duties, Duty
from tests.builders.alarms import (
    OPERATOR,
    PUMP_STATUS,
    T0,
    bearing,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    sample,
)
from tests.servers.api_server import ApiServer
from tests.servers.waiting import until

Message = dict[str, Any]
LIVE = "/api/v1/live"


class Listener:
    """A client that checks on the way that the numbers have no gap."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seq = 0

    async def next(self) -> Message:
        message: Message = await self.socket.receive_json(timeout=20)
        self.seq += 1
        assert message["seq"] == self.seq, "a gap"
        return message

    async def next_of(self, *types: str) -> Message:
        """The next message of these types; beats and others pass."""
        while True:
            message = await self.next()
            if message["type"] in types:
                return message

    async def hear_all(self, *types: str) -> None:
        """Return when each of these types has come, in whatever order."""
        missing = set(types)
        while missing:
            missing.discard((await self.next())["type"])

    async def types_for(self, seconds: float) -> list[str]:
        """What comes within a time."""
        found: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    found.append((await self.next())["type"])
        return found

    async def close_code(self) -> int:
        """Read until the server closes; the code as it stands in the closing frame."""
        while True:
            message = await self.socket.receive(timeout=20)
            if message.type is not WSMsgType.TEXT:
                assert message.type is WSMsgType.CLOSE, message
                return int(message.data)


Listen = Callable[..., Awaitable[Listener]]


@pytest.fixture
async def listen(api: ApiServer) -> AsyncIterator[Listen]:
    """Run the feed and connect listeners to it; each has had its snapshot when it is handed out."""
    running = asyncio.create_task(api.feed.run(await newest_fact(api.services.database)))
    sockets: list[ClientWebSocketResponse] = []
    await until(lambda: api.services.database._wakers, "the feed follows facts")

    async def start(who: Role | str = Role.OPERATOR, *, with_snapshot: bool = False) -> Listener:
        """`who` is a role, or the name of somebody who was entered before."""
        api.show(f"login-of-{who}")
        sockets.append(await api.client.ws_connect(LIVE))
        listener = Listener(sockets[-1])
        if not with_snapshot:
            await listener.next_of("system")
        return listener

    yield start
    for socket in sockets:
        await socket.close()
    assert not running.done(), running
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def announce(api: ApiServer, *readings: Reading) -> None:
    """What the collector does once readings are durable."""
    await api.services.store.write(readings)
    api.feed.note(readings)


# -- what comes ----------------------------------------------------------------------------------------


async def test_first_comes_a_snapshot_of_everything_then_the_state_of_the_platform(
    api: ApiServer, listen: Listen
) -> None:
    row, numbered = await api.raise_fire()
    await api.services.store.write([bearing(50, T0)])
    listener = await listen(with_snapshot=True)
    snapshot = await listener.next()
    assert (snapshot["type"], snapshot["seq"]) == ("snapshot", 1)
    assert [item["code"] for item in snapshot["sites"]] == ["HQ", "B"]
    assert [item["id"] for item in snapshot["equipment"]] == ["B:P-1", "HQ:FP-1", "HQ:P-1"]
    assert snapshot["equipment"][2]["latest"]["bearing_temperature"]["value"] == 50.0
    assert [item["id"] for item in snapshot["alarms"]] == [row["id"]]
    assert [item["number"] for item in snapshot["tickets"]] == [numbered["number"]]
    assert {item["kind"] for item in snapshot["profiles"]} >= {"pump", "elevator"}
    system = await listener.next_of("system")
    assert (system["ready"], system["components"]) == (True, {"database": "ready"})


async def test_an_alarm_and_its_ticket_arrive_by_themselves(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    desk = await open_desk(api.services.database, make_rule(), clock=api.clock)
    async with desk.following():
        await desk.decide(bearing(91, T0))
        told: dict[str, Message] = {}
        while len(told) < 2 or told["alarm"]["ticket"] is None:  # its number comes onto the alarm
            message = await listener.next_of("alarm", "ticket")
            told[message["type"]] = message[message["type"]]
        assert (told["alarm"]["state"], told["alarm"]["rule"]) == ("unacknowledged", "pump.hot")
        assert told["alarm"]["ticket"] == told["ticket"]["number"]
        row = await only_row(api.services.database, alarm)
        await acknowledge(api.services.database, row["id"], row["version"], "", OPERATOR, T0)
        while told["alarm"]["state"] != "acknowledged":
            told["alarm"] = (await listener.next_of("alarm"))["alarm"]


async def test_a_point_that_joins_a_fire_is_told_with_its_ticket_and_the_ticket_with_its_points(
    api: ApiServer, listen: Listen
) -> None:
    listener = await listen()
    desk = await open_desk(api.services.database, fire_rule(), clock=api.clock)
    async with desk.following():
        for address in ("1", "2"):
            await desk.decide(panel_event(T0, address=address))
            told: dict[str, Message] = {}
            while len(told) < 2 or told["alarm"]["ticket"] is None:
                message = await listener.next_of("alarm", "ticket")
                told[message["type"]] = message[message["type"]]
            assert told["alarm"]["ticket"] == told["ticket"]["number"]
            assert told["alarm"]["id"] == told["ticket"]["alarms"][-1]
    assert len(told["ticket"]["alarms"]) == 2


async def test_a_beat_comes_each_second_also_while_much_is_told(
    api: ApiServer, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_BEAT_S", 0.2)
    monkeypatch.setattr(live_feed, "_CONFLATED_S", 0.0)
    quiet = await listen()
    assert (await quiet.types_for(1.1)).count("beat") in range(3, 7)
    busy = await listen()

    async def talk() -> None:
        for number in range(10_000):
            await announce(api, bearing(50, T0 + number))
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(talk())
    types = await busy.types_for(1.1)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    assert types.count("reading") > 10
    assert types.count("beat") in range(3, 7)


async def test_the_first_reading_comes_at_once_and_then_at_most_one_a_second(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    started = time.monotonic()
    await announce(api, bearing(50, T0))
    first = await listener.next_of("reading")
    arrived = [time.monotonic()]
    assert first["equipment"] == "HQ:P-1"
    assert first["latest"] == {"bearing_temperature": {"value": 50.0, "at": "2025-11-22T08:26:40Z"}}
    for number in range(1, 20):
        await announce(api, bearing(50 + number, T0 + number))
    second = await listener.next_of("reading")
    arrived.append(time.monotonic())
    assert second["latest"]["bearing_temperature"]["value"] == 69.0  # the newest, and all others in it
    assert arrived[0] - started < 0.9
    assert arrived[1] - arrived[0] >= 0.9
    assert "reading" not in await listener.types_for(0.3)


async def test_conflation_keeps_the_fields_of_every_reading_and_is_per_equipment(
    api: ApiServer, listen: Listen
) -> None:
    listener = await listen()
    await announce(api, bearing(50, T0))
    await listener.next_of("reading")
    await announce(api, bearing(51, T0 + 1), sample(PUMP_STATUS, {"online": True}, T0 + 2))
    other = bearing(70, T0 + 3)
    other.topic = type(other.topic)("B", other.topic.kind, "P-1", other.topic.channel)
    await announce(api, other)
    assert (await listener.next_of("reading"))["equipment"] == "B:P-1"  # does not wait for the other's second
    held = await listener.next_of("reading")
    assert (held["equipment"], held["online"]) == ("HQ:P-1", True)
    assert list(held["latest"]) == ["bearing_temperature"]


async def test_a_part_that_fails_is_told(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    api.components["broker"] = "connection refused"
    system = await listener.next_of("system")
    assert (system["ready"], system["components"]["broker"]) == (False, "connection refused")


async def test_equipment_that_is_heard_for_the_first_time_is_told(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    await api.services.ledger.meet([sample(PUMP_STATUS.replace("P-1", "X-1"), {"online": True}, T0)], T0)
    told = (await listener.next_of("equipment"))["equipment"]
    assert (told["id"], told["adopted"]) == ("HQ:X-1", False)


async def test_what_another_process_entered_and_heard_is_told_as_well(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    other = Ledger(api.services.database, 10, "UTC")  # that process's own memory
    await other.load()
    await other.meet([sample(PUMP_STATUS.replace("P-1", "X-1"), {"online": True}, T0)], T0)
    assert (await listener.next_of("equipment"))["equipment"]["id"] == "HQ:X-1"
    assert ("HQ", "X-1") in api.services.ledger.equipment
    await api.services.store.write([bearing(50, T0)])
    api.feed.note_equipment({("HQ", "P-1")})
    told = await listener.next_of("reading")
    assert (told["equipment"], told["latest"]["bearing_temperature"]["value"]) == ("HQ:P-1", 50.0)


async def test_the_ledger_learns_what_others_entered_also_through_trouble(
    api: ApiServer, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    await listen()
    real, failures = api.services.ledger.learn, [locked()]

    async def fail_once(identities: Any) -> None:
        if failures:
            raise failures.pop()
        await real(identities)

    monkeypatch.setattr(live_feed, "_RETRY_S", 0.001)
    monkeypatch.setattr(api.services.ledger, "learn", fail_once)
    other = Ledger(api.services.database, 10, "UTC")
    await other.load()
    await other.meet([sample(PUMP_STATUS.replace("P-1", "X-1"), {"online": True}, T0)], T0)
    await until(lambda: ("HQ", "X-1") in api.services.ledger.equipment, "it is learnt")
    assert failures == []


# -- who sees what -------------------------------------------------------------------------------------


async def test_a_listener_hears_of_its_own_sites_only(api: ApiServer, listen: Listen) -> None:
    await api.log_in_with({"B": (Role.OPERATOR,)}, "b-only")
    listener = await listen("b-only", with_snapshot=True)
    snapshot = await listener.next()
    assert [item["id"] for item in snapshot["equipment"]] == ["B:P-1"]
    assert [item["code"] for item in snapshot["sites"]] == ["B"]
    everyone = await listen(Role.OPERATOR)
    await api.raise_fire()
    await announce(api, bearing(50, T0))
    await everyone.hear_all("alarm", "reading")
    assert not {"alarm", "ticket", "reading"} & set(await listener.types_for(0.5))


async def test_a_message_that_a_role_may_not_see_does_not_reach_it(
    api: ApiServer, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every role that may listen may read tickets today; so the table is changed for the test."""
    monkeypatch.setitem(live_feed.REQUIRED, live_feed.LiveTicket, live_feed.Permission.READ_QUARANTINE)
    monkeypatch.delitem(live_feed.REQUIRED, live_feed.LiveReading)  # what is not in the table goes to nobody
    operator, admin = await listen(Role.OPERATOR), await listen(Role.ADMIN)
    await api.raise_fire()
    await announce(api, bearing(50, T0))
    await admin.next_of("ticket")
    assert "reading" not in await admin.types_for(0.5)
    types = await operator.types_for(0.5)
    assert "alarm" in types
    assert not {"ticket", "reading"} & set(types)


@pytest.mark.parametrize(
    ("role", "headers", "status"),
    [
        (None, {}, 401),
        (Role.GUARD, {}, 403),  # a guard sees no estate
        (Role.OPERATOR, {"Origin": "https://evil.example"}, 403),  # another site's page with our cookie
        (Role.OPERATOR, {"Origin": "null"}, 403),
        (Role.OPERATOR, {"Host": "evil.example"}, 403),
    ],
)
async def test_who_may_not_listen_is_refused_before_anything_is_told(
    api: ApiServer, role: Role | None, headers: dict[str, str], status: int
) -> None:
    if role is not None:
        api.log_in(role)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.client.ws_connect(LIVE, headers=headers)
    assert refused.value.status == status
    assert api.feed.listeners == 0


async def test_the_own_page_may_listen(api: ApiServer, listen: Listen) -> None:
    api.log_in(Role.OPERATOR)
    own = str(api.client.make_url("/")).rstrip("/")
    async with api.client.ws_connect(LIVE, headers={"Origin": own}) as socket:
        assert (await socket.receive_json(timeout=20))["type"] == "snapshot"


# -- who is behind -------------------------------------------------------------------------------------


async def test_a_listener_that_reads_too_slowly_is_closed_with_1013_and_others_are_not(
    api: ApiServer, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_MOST_WAITING", 50)
    slow = await listen(Role.VIEWER)
    monkeypatch.setattr(live_feed, "_MOST_WAITING", 1_000_000)
    quick = await listen(Role.OPERATOR)
    monkeypatch.setattr(live_feed, "_CONFLATED_S", 0.0)
    for number in range(200):  # at one go: nobody can send in between
        api.feed.note([bearing(50, T0 + number)])
    await announce(api, bearing(51, T0))
    for number in range(200):
        api.feed.note([bearing(51, T0 + number)])
    assert await slow.close_code() == WSCloseCode.TRY_AGAIN_LATER == 1013
    await quick.next_of("reading")
    await until(lambda: api.feed.listeners == 1, "the slow one is forgotten")
    again = await listen(Role.VIEWER, with_snapshot=True)
    assert (await again.next())["type"] == "snapshot"


def locked() -> OperationalError:
    return OperationalError("SELECT", {}, Exception("database is locked"))


@pytest.mark.parametrize("error", [locked(), KeyError("a change that cannot be told")], ids=["locked", "poison"])
async def test_changes_that_could_not_be_read_send_every_listener_for_a_new_snapshot(
    api: ApiServer, listen: Listen, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A locked database must neither end the service nor leave a hole in what a wall screen shows."""
    listener = await listen()
    real, failures = live_feed.alarm_bodies, [error]

    async def fail_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(*arguments)

    monkeypatch.setattr(live_feed, "alarm_bodies", fail_once)
    await api.raise_fire()
    assert await listener.close_code() == 1013
    again = await listen(with_snapshot=True)
    assert len((await again.next())["alarms"]) == 1


@pytest.mark.parametrize("error", [locked(), KeyError("poison"), None], ids=["locked", "poison", "hangs"])
async def test_a_snapshot_that_cannot_be_made_closes_instead_of_keeping_silent(
    api: ApiServer, listen: Listen, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    async def fail(*_arguments: Any) -> Any:
        if error is None:
            await asyncio.Event().wait()
        else:
            raise error

    monkeypatch.setattr(live_feed, "SNAPSHOT_S", 0.1)
    monkeypatch.setattr(live_feed, "open_alarm_bodies", fail)
    listener = await listen(with_snapshot=True)
    assert await listener.close_code() == 1013


async def test_a_message_that_cannot_be_sent_closes_instead_of_keeping_silent(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    (connection,) = api.feed._listeners
    connection.waiting.put_nowait(object())  # type: ignore[arg-type]
    assert await listener.close_code() == 1013


async def test_a_feed_that_fails_is_restarted_and_every_listener_takes_a_new_snapshot(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties_module, "FIRST_PAUSE_S", 0.01)
    real, failures = api.feed._learn, [KeyError("poison")]

    async def fail_once(facts: Sequence[Fact]) -> None:
        if failures:
            raise failures.pop()
        await real(facts)

    monkeypatch.setattr(api.feed, "_learn", fail_once)
    told = await newest_fact(api.services.database)
    feed = Duty("live_feed", partial(api.feed.run, told), False)
    running = asyncio.create_task(Duties({}, CollectorRegistry()).carry_out([feed]))
    await until(lambda: api.services.database._wakers, "the feed follows facts")
    api.show(f"login-of-{Role.OPERATOR}")
    async with api.client.ws_connect(LIVE) as socket:
        listener = Listener(socket)
        await listener.next_of("system")
        await api.raise_fire()
        assert await listener.close_code() == 1013
    async with api.client.ws_connect(LIVE) as socket:
        listener = Listener(socket)
        assert len((await listener.next())["alarms"]) == 1
        await listener.next_of("system")
        await api.raise_hot()
        assert (await listener.next_of("alarm"))["alarm"]["rule"] == "pump.hot"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_listener_that_goes_is_forgotten(api: ApiServer, listen: Listen) -> None:
    listener = await listen()
    assert api.feed.listeners == 1
    await listener.socket.close()
    await until(lambda: api.feed.listeners == 0, "it is forgotten")
    await api.raise_fire()  # and telling goes on


async def test_an_alarm_of_a_site_that_is_in_no_ledger_stands_in_the_snapshot(api: ApiServer, listen: Listen) -> None:
    desk = await open_desk(api.services.database, fire_rule(), clock=api.clock)
    stranger = sample("gengfu/elsewhere/fire_panel/F-1/event", {"type": "fire"}, T0)
    stranger.digest = "a fire beyond the limit of unknown equipment"[:32]
    await desk.decide(stranger)
    snapshot = await (await listen(with_snapshot=True)).next()
    assert [item["equipment"] for item in snapshot["alarms"]] == ["elsewhere:F-1"]
