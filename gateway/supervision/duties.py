"""Long-running tasks of a process: named duties, some vital, the others restarted when they fail.

The failure of a vital duty ends the process: another process takes over, or the service manager restarts it. All other
duties are restarted after an increasing pause, counted, shown in `/readyz` and raised as an alarm of the platform. So a
fault in pages, history or records never stops the alarms.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import structlog
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy.exc import SQLAlchemyError

from gateway.clocks import steady_s
from gateway.component_states import READY, working
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership.lease import LeaseLost
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
SETTLED_S: Final = 10.0
"""A duty that has run this long since its restart no longer counts as failing."""

Run = Callable[[], Coroutine[Any, Any, None]]
"""Works until it is cancelled."""
Components = MutableMapping[str, Callable[[], str]]
"""Component -> its state in `/readyz`."""


class Duty(NamedTuple):
    """A long-running task of a process."""

    name: str
    run: Run
    is_vital: bool
    """Whether the process ends when it fails."""
    health: Callable[[], str] | None = None
    """Its state in `/readyz` while it runs; None: shown only while it is being restarted."""


class DutyEnded(Exception):
    """A duty returned without being cancelled."""


class _Failure(NamedTuple):
    """Why a duty was restarted last, until when it counts as failing, and how long its pause was."""

    why: str
    until: float
    pause_s: float


class Duties:
    """Runs the duties of one process."""

    def __init__(
        self, components: Components, registry: CollectorRegistry, steady: Callable[[], float] = steady_s
    ) -> None:
        self._components = components
        self._steady = steady
        self._failures: dict[str, _Failure] = {}
        self._restarts = Counter(
            "gengfu_duty_restarts", "Restarts of a duty that had failed", ["duty"], registry=registry
        )

    @property
    def failing(self) -> list[str]:
        """Names of the duties that wait for a restart or were restarted recently."""
        now = self._steady()
        return sorted(name for name, failure in self._failures.items() if now < failure.until)

    async def carry_out(self, duties: Sequence[Duty]) -> None:
        """Run all of them until cancelled.

        Raises:
            ExceptionGroup: a vital duty failed, or the lease of the alarms was lost.
        """
        async with asyncio.TaskGroup() as group:
            for duty in duties:
                if duty.health is not None:
                    self._components[duty.name] = duty.health
                group.create_task(self._vital(duty) if duty.is_vital else self._restarted(duty), name=duty.name)

    async def _vital(self, duty: Duty) -> NoReturn:
        await duty.run()
        raise DutyEnded(duty.name)

    async def _restarted(self, duty: Duty) -> NoReturn:
        while True:
            began = self._steady()
            try:
                await self._vital(duty)
            except Exception as error:
                if is_lease_lost(error):
                    raise
                pause_s = self._note(duty, error, self._steady() - began)
            await asyncio.sleep(pause_s)

    def _note(self, duty: Duty, error: Exception, lasted_s: float) -> float:
        """Count and log a failure. Returns the pause before the restart, in seconds."""
        before = self._failures.get(duty.name)
        pause_s = FIRST_PAUSE_S
        if before is not None and lasted_s < before.pause_s + SETTLED_S:
            pause_s = min(LONGEST_PAUSE_S, 2 * before.pause_s)
        why = _words(error)
        if before is None or before.why != why or lasted_s >= SETTLED_S:
            log.error("a duty failed and is restarted", duty=duty.name, why=why, exc_info=error)
        self._failures[duty.name] = _Failure(why, self._steady() + pause_s + SETTLED_S, pause_s)
        self._restarts.labels(duty.name).inc()
        self._components[duty.name] = lambda: self._state(duty)
        return pause_s

    def _state(self, duty: Duty) -> str:
        """The state of a duty that has failed; its own state is shown again when it has settled."""
        failure = self._failures[duty.name]
        if self._steady() < failure.until:
            return working(f"being restarted after {failure.why}")
        if duty.health is not None:
            self._components[duty.name] = duty.health
            return duty.health()
        return READY


def _words(error: Exception) -> str:
    """The text of a failure in `/readyz`; the log has the details."""
    if isinstance(error, SQLAlchemyError):
        return in_plain_words(error)
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def is_lease_lost(error: Exception) -> bool:
    """Whether an error, or one of a group, means that another process is the leader."""
    if isinstance(error, ExceptionGroup):
        return error.subgroup(LeaseLost) is not None
    return isinstance(error, LeaseLost)


def every(seconds: float, work: Callable[[], Awaitable[None]]) -> Run:
    """A duty that runs `work` periodically; after a database error it retries at the next interval."""

    async def run() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except DatabaseTrouble as error:
                log.warning("a periodic check could not be made", why=in_plain_words(error), detail=str(error))

    return run


def always_ready() -> str:
    """The health of a duty that knows nothing of itself."""
    return READY
