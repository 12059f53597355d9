"""A server and the owner of its alarms, through which readings go as they do in the service."""

from typing import Any

import msgspec

from collectors.mqtt.message import Message
from collectors.wire.reading import Reading
from gateway.alarms.rules.files import shipped_rules
from gateway.api.http.route import Handler
from gateway.people.permissions import Role
from gateway.storage.tables import alarm
from tests.builders.alarms import Desk, open_desk, rows_of
from tests.gateway.api.alarms.test_shelving import call_of
from tests.servers.api_server import ApiServer

AT = "/api/v1/equipment/"


class Scene:
    """Readings come in, people act, alarms follow."""

    def __init__(self, api: ApiServer, desk: Desk) -> None:
        self.api = api
        self.desk = desk
        self.ledger = api.services.ledger

    async def say(self, *readings: Reading) -> None:
        """Have readings heard, listed, kept and decided, each as a message of its own."""
        now = self.desk.clock
        for reading in readings:
            now.now = max(now.now, reading.received_at)
            self.ledger.hear(Message(str(reading.topic), b"{}", 1, 1, now.now * 1_000_000), [reading])
            await self.ledger.meet([reading], now.now)
            if not reading.digest:
                await self.api.services.store.write([reading])
            await self.desk.decide(reading)

    async def act(self, handler: Handler, equipment: str, body: msgspec.Struct, role: Role = Role.ADMIN) -> Any:
        """What a person does, with a second one who has agreed."""
        return await handler(call_of(self.api, role, {"equipment": equipment}, body, "demo:manager"))

    async def alarms(self, *, is_open: bool = True) -> list[dict[str, Any]]:
        """Rows of alarms that are open, or of all."""
        rows = await rows_of(self.api.services.database, alarm)
        return [row for row in rows if not is_open or row["open_key"] is not None]

    async def names(self) -> list[tuple[str, str]]:
        """(equipment, rule) of every open alarm."""
        return sorted((row["equipment"], row["rule"]) for row in await self.alarms())

    def version(self, code: str) -> int:
        return self.ledger.equipment["HQ", code].version


async def open_scene(api: ApiServer) -> Scene:
    """With the rules that are shipped."""
    ledger = api.services.ledger
    desk = await open_desk(api.services.database, *shipped_rules(), clock=api.clock, estate=lambda: ledger.estate)
    return Scene(api, desk)
