"""Steps of the alarms' tick, isolated from each other's failures."""

from collections.abc import Awaitable, Callable, Iterator

import structlog

from gateway.storage.outbox.isolate_failure import NOBODYS_FAULT, reason_of

log = structlog.get_logger(__name__)


class WorkParts:
    """Runs steps, and records which of them fail."""

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}
        """Step -> why it fails, other than for an unavailable database."""

    @property
    def notices(self) -> Iterator[str]:
        """A notice for each step that fails."""
        return (f"{name} cannot be processed: {why}" for name, why in self._failing.items())

    async def carry_out(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run one step. A failure for another reason than the database's state does not stop the others."""
        try:
            await work()
        except NOBODYS_FAULT:
            raise
        except Exception as error:
            why = reason_of(error)
            if self._failing.get(name) != why:
                log.error("a step of the alarms' tick fails; it is tried again", part=name, why=why, exc_info=error)
            self._failing[name] = why
        else:
            self._failing.pop(name, None)
