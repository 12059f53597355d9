"""The JSON of the platform: health, audit and the synthetic probe."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from gateway.alarms.built_in.synthetic_probe import Code
from gateway.api.http.bodies import Texts


class AuditBody(msgspec.Struct, frozen=True):
    """One change: actor, channel, state before and after. Rows name people by id; `actor_name` is looked up."""

    id: int
    at: datetime
    site: str
    actor: str
    actor_name: Texts
    role: list[str]
    via: str
    origin: str
    act: str
    thing: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    cause: str
    seq: int | None
    """Position in the chain; null in the first second."""
    hash: str | None


class HealthBody(msgspec.Struct, frozen=True):
    """`clock` is "wall", or "data" if the service's time is the newest time in replayed data."""

    status: str
    clock: Literal["wall", "data"]


class ReadyBody(msgspec.Struct, frozen=True):
    """`components` maps each component to "ready", to "ready; " and a notice, or to what it is waiting for."""

    ready: bool
    components: dict[str, str]


class WatchdogBody(msgspec.Struct, frozen=True):
    """`code` is "ok", or the stage at which synthetic probes stop; docs/production.md explains each."""

    ok: bool
    code: Code
