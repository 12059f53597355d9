"""The JSON of the live feed: its snapshot and its messages."""

from datetime import datetime

import msgspec

from collectors.device_clocks import Doubt
from gateway.api.alarms.bodies import (
    AlarmBody,
    FloodBody,
    WindowBody,
)
from gateway.api.equipment.bodies import (
    EquipmentBody,
    FieldValue,
    ProfileBody,
    SiteBody,
)
from gateway.api.tickets.bodies import TicketBody


class Snapshot(msgspec.Struct, frozen=True, tag_field="type", tag="snapshot"):
    seq: int
    at: datetime
    sites: list[SiteBody]
    profiles: list[ProfileBody]
    equipment: list[EquipmentBody]
    alarms: list[AlarmBody]
    """Open alarms."""
    tickets: list[TicketBody]
    """Open tickets."""
    maintenance: list[WindowBody]
    """Active and upcoming planned work."""


class LiveReading(msgspec.Struct, frozen=True, tag_field="type", tag="reading"):
    """New values of one equipment, at most once a second; only the fields received since the last message."""

    seq: int
    equipment: str
    online: bool | None
    last_seen: datetime | None
    clock: Doubt
    latest: dict[str, FieldValue]


class LiveEquipment(msgspec.Struct, frozen=True, tag_field="type", tag="equipment"):
    """New or changed equipment."""

    seq: int
    equipment: EquipmentBody


class LiveAlarm(msgspec.Struct, frozen=True, tag_field="type", tag="alarm"):
    seq: int
    alarm: AlarmBody


class LiveFlood(msgspec.Struct, frozen=True, tag_field="type", tag="flood"):
    """A site's flood, on each change and after each snapshot; null when it has ended."""

    seq: int
    site: str
    flood: FloodBody | None


class LiveTicket(msgspec.Struct, frozen=True, tag_field="type", tag="ticket"):
    seq: int
    ticket: TicketBody


class LiveMaintenance(msgspec.Struct, frozen=True, tag_field="type", tag="maintenance"):
    """Planned work that is new, has changed, begins, ends or is cancelled."""

    seq: int
    window: WindowBody


class LiveSystem(msgspec.Struct, frozen=True, tag_field="type", tag="system"):
    """The state of the platform as in `/readyz`, on each change."""

    seq: int
    ready: bool
    components: dict[str, str]


class Beat(msgspec.Struct, frozen=True, tag_field="type", tag="beat"):
    seq: int
    at: datetime
