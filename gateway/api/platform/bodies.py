"""."""


class AuditBody(msgspec.Struct, frozen=True):
    """One change: who, by what way, what was before and after. Rows name people by id; `actor_name` is looked up."""

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
    """Place in the chain; null in the first second."""
    hash: str | None


class HealthBody(msgspec.Struct, frozen=True):
    """`clock` is "wall", or "data" where the service's now is the newest time in replayed data."""

    status: str
    clock: Literal["wall", "data"]


class ReadyBody(msgspec.Struct, frozen=True):
    """`parts` maps each part to "ready", to "ready; " and what people should know, or to what it is waiting for."""

    ready: bool
    parts: dict[str, str]


class WatchdogBody(msgspec.Struct, frozen=True):
    """`code` is "ok", or how far the watchdog's beats come; docs/production.md explains each."""

    ok: bool
    code: Code
