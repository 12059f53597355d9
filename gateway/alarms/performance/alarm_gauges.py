"""Current state for `/metrics`: floods by duty position; open, unacknowledged, stale and suppressed alarms."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import func, select

from gateway.alarms.lifecycle.states import State
from gateway.alarms.performance.duty_positions import CONTROL_ROOM
from gateway.alarms.performance.flood_watch import Flood
from gateway.alarms.performance.kpis import STALE_MS
from gateway.alarms.rules.rule import Priority
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, alarm_is_open

_WAITING: Final = (State.UNACKNOWLEDGED, State.RETURNED_UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED)


class AlarmGauges:
    """Gauges, updated periodically."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.flood = Gauge("gengfu_alarm_flood", "1 while a duty position has a flood", ["position"], registry=registry)
        self._positions = {CONTROL_ROOM}
        self.open = Gauge("gengfu_alarms_open", "Open alarms", ["priority"], registry=registry)
        self.waiting = Gauge("gengfu_alarms_unacknowledged", "Alarms that are not acknowledged", registry=registry)
        self.not_annunciated = Gauge(
            "gengfu_alarms_not_annunciated", "Open alarms that are not annunciated", registry=registry
        )
        self.chattering = Gauge("gengfu_alarms_chattering", "Open alarms that are damped", registry=registry)
        self.stale = Gauge("gengfu_alarms_stale", "Alarms active for more than a day", registry=registry)

    def note(self, floods: Sequence[Flood]) -> None:
        """Set which positions have a flood."""
        flooded = {flood.position for flood in floods}
        self._positions |= flooded
        for position in self._positions:
            self.flood.labels(position).set(position in flooded)

    async def look(self, database: Database, now: int) -> None:
        """Count alarms; `now` in epoch ms."""
        count = select(func.count()).select_from(alarm).where(alarm_is_open)
        async with database.reading() as connection:
            mix = select(alarm.c.priority, func.count()).where(alarm_is_open).group_by(alarm.c.priority)
            by_priority: dict[str, int] = {row[0]: row[1] for row in await connection.execute(mix)}
            waiting = await connection.scalar(count.where(alarm.c.state.in_([state.value for state in _WAITING])))
            suppressed = await connection.scalar(count.where(~alarm.c.annunciated))
            chattering = await connection.scalar(count.where(alarm.c.chattering))
            standing = select(func.count()).select_from(activation).where(activation.c.ended_at.is_(None))
            stale = await connection.scalar(standing.where(activation.c.started_at < now - STALE_MS))
        for priority in Priority:
            self.open.labels(priority.value).set(by_priority.get(priority.value, 0))
        for gauge, value in (
            (self.waiting, waiting),
            (self.not_annunciated, suppressed),
            (self.chattering, chattering),
        ):
            gauge.set(value or 0)
        self.stale.set(stale or 0)
