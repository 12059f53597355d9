"""Duties: what is vital ends the process, everything else is restarted, counted and shown."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from gateway import leader_duties as owner_duties
from gateway.api.platform.health import ready_body
from gateway.app import Application
from gateway.backup.regular import RegularBackups
from gateway.settings import load_settings
from gateway.storage.leadership.lease import LeaseLost
from gateway.supervision import duties as duties_module
from gateway.supervision.duties import Components, Duties, Duty, always_ready, every, is_lease_lost
from gateway.supervision.incoming_messages import MessageMonitor
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import until, until_awaited
from tests.servers.wire import send


class Steady:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Board:
    """Duties with what they show."""

    def __init__(self) -> None:
        self.components: Components = {}
        self.registry = CollectorRegistry()
        self.steady = Steady()
        self.duties = Duties(self.components, self.registry, self.steady)

    def restarts(self, name: str) -> float:
        return self.registry.get_sample_value("gengfu_duty_restarts_total", {"duty": name}) or 0.0

    def shown(self) -> dict[str, str]:
        return {name: state() for name, state in self.components.items()}


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setattr(duties_module, "FIRST_PAUSE_S", 0.01)
    return Board()


async def for_ever() -> None:
    await asyncio.Event().wait()


def failing(times: int, error: Callable[[], Exception], begun: list[int]) -> Callable[[], object]:
    async def run() -> None:
        begun.append(len(begun))
        if len(begun) <= times:
            raise error()
        await for_ever()

    return run


@pytest.fixture
async def tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    started: list[asyncio.Task[None]] = []
    yield started
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


async def test_what_is_not_vital_is_restarted_counted_and_shown_and_all_else_goes_on(
    board: Board, tasks: list[asyncio.Task[None]]
) -> None:
    begun, turns = list[int](), list[int]()

    async def turn() -> None:
        turns.append(1)

    wanted = [
        Duty("pages", failing(2, lambda: KeyError("lost"), begun), False),  # type: ignore[arg-type]
        Duty("alarms", every(0.001, turn), True, always_ready),
    ]
    tasks.append(asyncio.create_task(board.duties.carry_out(wanted)))
    await until(lambda: len(begun) == 3, "it was restarted twice")
    before = len(turns)
    await until(lambda: len(turns) > before, "the other one goes on")
    assert board.restarts("pages") == 2
    assert board.duties.failing == ["pages"]
    assert board.shown() == {"alarms": "ready", "pages": "ready; being restarted after KeyError: 'lost'"}
    board.steady.now += 3600
    assert board.duties.failing == []
    assert board.shown() == {"alarms": "ready", "pages": "ready"}


async def test_the_pause_before_a_restart_grows_up_to_a_minute_and_begins_anew_after_a_good_run(board: Board) -> None:
    duty, error = Duty("pages", for_ever, False), ValueError()
    pauses = [board.duties._note(duty, error, lasted_s=0.0) for _ in range(16)]
    assert pauses[:3] == [0.01, 0.02, 0.04]
    assert pauses[-1] == duties_module.LONGEST_PAUSE_S
    assert board.duties._note(duty, error, lasted_s=3600.0) == 0.01


async def test_a_vital_duty_that_fails_ends_all_of_them(board: Board) -> None:
    ended = asyncio.Event()

    async def other() -> None:
        try:
            await for_ever()
        finally:
            ended.set()

    async def vital() -> None:
        raise KeyError("lost")

    with pytest.raises(ExceptionGroup) as found:
        await board.duties.carry_out([Duty("alarms", vital, True), Duty("pages", other, False)])
    assert found.group_contains(KeyError)
    assert ended.is_set()


async def test_a_vital_duty_that_returns_has_failed(board: Board) -> None:
    async def returns() -> None:
        return

    with pytest.raises(ExceptionGroup) as found:
        await board.duties.carry_out([Duty("alarms", returns, True)])
    assert found.group_contains(duties_module.DutyEnded)


async def test_a_lease_that_is_lost_ends_all_of_them_whoever_finds_out(board: Board) -> None:
    async def finds_out() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lost())

    async def lost() -> None:
        raise LeaseLost("epoch 1 is over")

    with pytest.raises(ExceptionGroup) as found:
        await board.duties.carry_out([Duty("retention", finds_out, False)])
    assert is_lease_lost(found.value)
    assert board.restarts("retention") == 0


@pytest.mark.server
async def test_a_part_that_keeps_failing_is_shown_and_an_alarm_and_alarms_of_the_building_go_on(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the whole service: backups and self-supervision fail at every turn."""

    async def fail(*_arguments: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(owner_duties, "LOOK_S", 0.01)
    monkeypatch.setattr(RegularBackups, "tick", fail)
    monkeypatch.setattr(MessageMonitor, "findings", fail)
    overrides = {"broker": {"port": mosquitto.port}, "http": {"port": 0}, "storage": {"data_dir": tmp_path}}
    application = Application(load_settings(None, overrides))
    running = asyncio.create_task(application.run())
    await until(lambda: "being restarted after KeyError" in application.components().get("backups", ""), "it is shown")
    await until(
        lambda: "being restarted" in application.components().get("self_supervision", ""), "so is the other one", 60
    )
    press = [("gengfu/hq/elevator/L-1/telemetry", b'{"alarm_button": true}')]
    await send(mosquitto.port, press)

    async def rules() -> set[str]:
        address = f"{application.address}/api/v1/alarms?state=open"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            return {item["rule"] for item in (await answer.json())["items"]}

    async def both() -> bool:
        return {"system.component_failing", "elevator.alarm_button"} <= await rules()

    await until_awaited(both, "both alarms stand", 60)
    assert ready_body(application.components()).ready
    application.stop()
    await running
