"""The service's clock is set, messages and looks of the clock come in any order: no alarm freezes or is forgotten."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Quality, Reading, Value
from gateway.alarms.evaluation.clock_steps import by_new_clock
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.clocks import ClockSteps
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm
from tests.builders.alarms import PUMP, PUMP_STATUS, T0, Clock, Desk, make_rule, only_row, open_desk, rows_of, sample
from tests.gateway.alarms.evaluation.test_evaluator import make_watches

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
SILENT: Final = make_rule("silent", type=RuleType.NO_DATA, field="online", after=MINUTE)
DELAYED: Final = make_rule("silent", type=RuleType.NO_DATA, field="online", after=MINUTE, on_delay=20 * SECOND)
STEPS: Final = st.sampled_from([-HOUR, HOUR, -2 * HOUR, -5 * SECOND, 90 * SECOND, 24 * HOUR, -24 * HOUR])


class World:
    """A device, the queue of messages before the rules, and a server whose clock is set by anybody at any time."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.instances = make_watches(rule)
        self.steady = 0
        self.wall = T0
        self.queue: list[Reading] = []
        self.steps = ClockSteps(lambda: self.wall, lambda: self.steady)
        self.stepped = 0
        self.active = False

    def wait(self, ms: int) -> None:
        self.steady += ms
        self.wall += ms

    def set_clock(self, by: int) -> None:
        self.wall += by

    def speak(self, topic: str = PUMP, **fields: Value) -> None:
        said = fields or {"flow": 1.0}
        self.queue.append(sample(topic, said, self.wall, quality=int(Quality.NO_TIME)))

    def judge(self) -> None:
        self._follow_clock()
        by_new_clock(self.queue, self.wall, self.stepped)
        self._note(self.instances.take(self.queue).decisions)
        self.queue = []

    def tick(self) -> None:
        self._follow_clock()
        self._note(self.instances.tick(self.wall).decisions)

    def _follow_clock(self) -> None:
        by = self.steps()
        if by:
            self.instances.clock_was_set(by)
            self.stepped = by

    def _note(self, decisions: list) -> None:  # type: ignore[type-arg]  # of any rule
        for decision in decisions:
            assert decision.change.raised is not self.active, "what stands cannot begin, what is over cannot end"
            self.active = decision.change.raised

    def pass_time(self, ms: int) -> None:
        for _ in range(0, ms, 10 * SECOND):
            self.wait(10 * SECOND)
            self.tick()


ACTS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 2 * MINUTE)),
        st.tuples(st.just("set_clock"), STEPS),
        st.tuples(st.sampled_from(["speak", "judge", "tick"])),
        st.tuples(st.just("pass_time"), st.just(90 * SECOND)),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(rule=st.sampled_from([SILENT, DELAYED]), acts=ACTS)
def test_who_has_spoken_is_not_silent_and_who_is_silent_is_told_of_whatever_the_clock_does(
    rule: Rule, acts: list[tuple[str, int]]
) -> None:
    world = World(rule)
    for name, *given_ in acts:
        getattr(world, name)(*given_)
    world.speak()
    world.judge()
    assert not world.active, "it has spoken, and that is judged"
    world.pass_time(MINUTE + rule.on_delay + 40 * SECOND)
    assert world.active, "it has been silent for long enough"
    world.speak()
    world.tick()
    world.judge()
    assert not world.active


@pytest.mark.parametrize("by", [-HOUR, HOUR, 0])
def test_a_message_received_before_the_tick_that_raised_and_judged_after_it_ends_the_alarm(by: int) -> None:
    world = World(SILENT)
    world.tick()
    world.speak()
    world.judge()
    world.pass_time(50 * SECOND)
    world.wait(9 * SECOND)
    world.speak()
    world.wait(2 * SECOND)
    world.set_clock(by)
    world.tick()
    assert world.active, "nothing was judged for a minute"
    world.judge()
    assert not world.active


def test_sixty_sensors_that_speak_again_just_then_leave_no_alarm_standing() -> None:
    topics = [PUMP.replace("P-1", f"P-{number}") for number in range(60)]
    instances = make_watches(SILENT)
    instances.take([sample(topic, {"flow": 1.0}, T0 + number) for number, topic in enumerate(topics)])
    for now in range(T0, T0 + 59 * SECOND, SECOND):
        instances.tick(now)
    spoke = [sample(topic, {"flow": 1.0}, T0 + 59 * SECOND + 30 * number) for number, topic in enumerate(topics)]
    raised = [*instances.tick(T0 + 61 * SECOND).decisions, *instances.take(spoke).decisions]
    assert sum(item.change.raised for item in raised) == sum(not item.change.raised for item in raised) == 60


# -- the other rules -----------------------------------------------------------------------------------


class Stepping:
    """The owner's side, whose clock is set while nothing else stands still."""

    def __init__(self, desk: Desk, steady: Clock) -> None:
        self.desk = desk
        self.steady = steady

    async def wait(self, ms: int) -> None:
        for _ in range(0, ms, SECOND):
            self.steady.now += SECOND
            self.desk.clock.now += SECOND
            await self.desk.alarms.tick()

    def set_clock(self, by: int) -> None:
        self.desk.clock.now += by

    async def say(self, fields: dict[str, Value], topic: str = PUMP, device_ahead: int | None = None) -> None:
        """Of a device without a clock, or one that is so much ahead of the server's."""
        now = self.desk.clock.now
        if device_ahead is None:
            reading = sample(topic, fields, now, quality=int(Quality.NO_TIME))
        else:
            quality = int(Quality.FUTURE) if device_ahead > 5 * MINUTE else 0
            reading = sample(topic, fields, now + device_ahead, now, quality)
        await self.desk.alarms.decide([reading])


async def stepping(database: Database, *rules: Rule) -> Stepping:
    clock, steady = Clock(T0), Clock(0)
    desk = await open_desk(database, *rules, clock=clock, steps=ClockSteps(clock, steady))
    return Stepping(desk, steady)


HOT: Final = make_rule("hot", above=50.0, deadband=1.0, on_delay=10 * SECOND)
AT_ONCE: Final = make_rule("at_once", above=50.0, deadband=1.0)
WEEKLY: Final = make_rule("weekly", type=RuleType.ABSENCE, field="running", values=frozenset({True}), after=MINUTE)
STARTS: Final = make_rule("starts", type=RuleType.COUNT, field="starts", above=1.0, window=MINUTE)


def seen_by(device_clock: bool, by: int) -> Callable[[int], int | None]:
    """How far a device with a clock of its own, which was right, is ahead once the server's was set by `by`."""
    return lambda stepped: (-by if stepped else 0) if device_clock else None


@pytest.mark.parametrize("by", [-HOUR, HOUR])
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_delay_lasts_as_long_whatever_the_clock_is_set_to(database: Database, by: int) -> None:
    server = await stepping(database, HOT)
    await server.say({"bearing_temperature": 60.0})
    await server.wait(5 * SECOND)
    server.set_clock(by)
    await server.wait(3 * SECOND)
    await server.say({"bearing_temperature": 61.0})
    assert await rows_of(database, activation) == [], "eight seconds of ten"
    await server.wait(3 * SECOND)
    assert len(await rows_of(database, activation)) == 1


@pytest.mark.parametrize("by", [-HOUR, -30 * SECOND, HOUR])
@pytest.mark.parametrize("device_clock", [False, True], ids=["without a clock of its own", "with one"])
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_an_alarm_returns_and_comes_again_after_the_clock_was_set(
    database: Database, by: int, device_clock: bool
) -> None:
    server, ahead = await stepping(database, AT_ONCE), seen_by(device_clock, by)
    await server.say({"bearing_temperature": 60.0}, device_ahead=ahead(0))
    server.set_clock(by)
    # A device that is behind the server's new time is believed when it has been so for a minute.
    for _ in range(3):
        await server.wait(40 * SECOND)
        await server.say({"bearing_temperature": 20.0}, device_ahead=ahead(1))
    assert not (await only_row(database, alarm))["active"]
    await server.wait(SECOND)
    await server.say({"bearing_temperature": 70.0}, device_ahead=ahead(1))
    assert (await only_row(database, alarm))["active"]


@pytest.mark.parametrize("by", [-HOUR, HOUR])
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_absence_and_counts_go_on_after_the_clock_was_set(database: Database, by: int) -> None:
    server = await stepping(database, WEEKLY, STARTS)
    await server.say({"running": False, "starts": 1.0})
    await server.say({"starts": 2.0})
    await server.wait(30 * SECOND)
    server.set_clock(by)
    await server.wait(20 * SECOND)
    assert await rows_of(database, activation) == []
    await server.say({"starts": 3.0})
    await server.wait(15 * SECOND)
    assert {row["rule"] for row in await rows_of(database, activation)} == {"weekly", "starts"}
    await server.say({"running": True})
    await server.wait(65 * SECOND)
    assert not any(row["active"] for row in await rows_of(database, alarm))


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_an_alarm_of_before_a_restart_returns_where_the_clock_was_set_back_meanwhile(database: Database) -> None:
    desk = await open_desk(database, AT_ONCE, clock=Clock(T0))
    await desk.alarms.decide([sample(PUMP, {"bearing_temperature": 60.0}, T0)])
    desk.clock.now = T0 - HOUR
    await desk.alarms.load()
    await desk.alarms.decide([sample(PUMP, {"bearing_temperature": 20.0}, T0 - HOUR + SECOND)])
    assert not (await only_row(database, alarm))["active"]


def test_steps_of_a_clock_are_found_once_and_small_ones_are_none() -> None:
    wall, steady = Clock(T0), Clock(0)
    steps = ClockSteps(wall, steady)
    wall.now, steady.now = T0 + HOUR, HOUR + 400
    assert steps() == 0
    wall.now -= HOUR
    assert steps() == -HOUR - 400
    assert steps() == 0


def test_the_last_will_and_the_next_word_count_in_order_after_the_clock_was_set_back() -> None:
    world = World(SILENT)
    world.speak(PUMP_STATUS, online=False)
    world.judge()
    assert world.active
    world.set_clock(-HOUR)
    world.speak(PUMP_STATUS, online=True)
    world.judge()
    assert not world.active
