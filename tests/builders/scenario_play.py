"""Plays a scenario on a simulated clock through the real decoder, the real alarms and the real tickets."""

from collections.abc import Iterator

from sqlalchemy import select

from collectors.payloads.native import decode
from collectors.wire.reading import Reading
from collectors.wire.topics import parse_topic
from gateway.alarms.rules.files import shipped_rules
from gateway.cli.demo import ledger_of, links_of
from gateway.equipment.ledger import Ledger
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.storage.tables import alarm, ticket, ticket_alarm
from gateway.tickets.tickets import _without_tickets
from simulators.estate import Estate, load_estate
from simulators.faults.scenario import load_scenario
from simulators.simulation import Message, Simulation
from tests.builders.alarms import Clock, Desk, open_desk
from tests.servers.waiting import until_awaited

MORNING = 1_763_766_000_000
"""2025-11-22 07:00 in Shanghai."""

_EVER = 2**62
"""Epoch ms: later than anything was received."""


def messages(
    scenario: str, seconds: float, *, rate: float = 1.0, seed: int = 1, start_ms: int = MORNING
) -> Iterator[tuple[float, Message]]:
    """(second, message) of the scenario's estate going through it, as a perfect line would carry them."""
    loaded = load_scenario(scenario)
    simulation = Simulation(load_estate(loaded.estate), loaded, seed=seed, start_ms=start_ms, rate=rate)
    while simulation.due_s < seconds:
        due_s = simulation.due_s
        for message in simulation.due_messages(due_s, lambda at: start_ms + round(at * 1000)):
            yield due_s, message


async def play(
    database: Database,
    scenario: str,
    seconds: float,
    *,
    rate: float = 1.0,
    tick_s: float = 1.0,
    without: frozenset[str] = frozenset(),
) -> Desk:
    """Let the owner's side decide on everything, in steps of `tick_s` simulated seconds, each with its tick.

    `without` names shipped rules that are left out.
    """
    estate = load_estate(load_scenario(scenario).estate)
    await enter(database, estate)
    rules = [rule for rule in shipped_rules() if rule.id not in without]
    desk = await open_desk(database, *rules, clock=Clock(MORNING))
    async with desk.following():
        came: list[Reading] = []
        next_tick_s = tick_s
        for second, message in messages(scenario, seconds, rate=rate):
            while second >= next_tick_s:
                await _decide(desk, came, next_tick_s)
                next_tick_s += tick_s
            decoded = decode(parse_topic(message.topic), message.payload, MORNING + round(second * 1000))
            assert decoded.faults == [], (message.topic, decoded.faults)
            came += decoded.readings
        await _decide(desk, came, seconds)
        await until_awaited(lambda: _is_nothing_owed(database), "every activation that wants a ticket has one")
    return desk


async def enter(database: Database, estate: Estate) -> None:
    """Let the ledger know the estate, and what feeds and carries what."""
    ledger = Ledger(database, 0, estate.time_zone)
    await ledger.enter(*ledger_of(estate), CLOCK, MORNING)
    for link in links_of(estate):
        await ledger.links.link(link, CLOCK, MORNING)


async def _decide(desk: Desk, came: list[Reading], second: float) -> None:
    if came:
        await desk.decide(*came)
        came.clear()
    desk.clock.now = MORNING + round(second * 1000)
    await desk.alarms.tick()


async def _is_nothing_owed(database: Database) -> bool:
    """Tickets follow by facts, so they are there a moment later."""
    async with database.reading() as connection:
        return all(row["passed"] for row in await _without_tickets(connection, _EVER))


async def raised(database: Database) -> dict[tuple[str, str], str]:
    """(equipment, rule) of every alarm that was -> type of its ticket, "" for none."""
    statement = (
        select(alarm.c.equipment, alarm.c.rule, ticket.c.type)
        .outerjoin(ticket_alarm, ticket_alarm.c.alarm == alarm.c.id)  # what is damped stands in no ticket by itself
        .outerjoin(ticket, ticket.c.number == ticket_alarm.c.ticket)
    )
    async with database.reading() as connection:
        return {(row.equipment, row.rule): row.type or "" for row in await connection.execute(statement)}
