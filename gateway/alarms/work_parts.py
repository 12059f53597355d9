"""Parts of the alarms' work that must not hold up one another."""

from collections.abc import Awaitable, Callable, Iterator

import structlog

from gateway.storage.outbox.isolate_failure import NOBODYS_FAULT, reason_of

log = structlog.get_logger(__name__)


class WorkParts:
    """Carries out parts, and knows which of them fail."""

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}
        """Part -> why it fails, other than for a database that is away."""

    @property
    def notices(self) -> Iterator[str]:
        """What people should know of each part that fails."""
        return (f"{name} cannot be looked at: {why}" for name, why in self._failing.items())

    async def carry_out(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do one part. One that fails for another reason than the database's state holds up no other."""
        try:
            await work()
        except NOBODYS_FAULT:
            raise
        except Exception as error:
            why = reason_of(error)
            if self._failing.get(name) != why:
                log.error("a part of the alarms' work fails; it is tried again", part=name, why=why, exc_info=error)
            self._failing[name] = why
        else:
            self._failing.pop(name, None)
