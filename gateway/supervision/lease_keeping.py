"""Takes and renews the leader's lease, and computes locally when it has expired."""

import asyncio
from typing import Final

import structlog

from gateway.clocks import wall_ms
from gateway.component_states import READY
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership import lease
from gateway.storage.leadership.tenure import Tenure
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

RENEW_S: Final = lease.LIFETIME_MS / 3000
_AGAIN_S: Final = 0.5
"""Retry interval after a failed renewal: there is time for only a few."""
OVER: Final = "the leader's lease has expired: another process may be the leader"


class LeaseKeeper:
    """The lease as this process holds it; taken once for each epoch."""

    def __init__(self, database: Database) -> None:
        self.trouble = ""
        """Why the last attempt to take or renew it failed, "" if it succeeded."""
        self._database = database
        self._holder = lease.holder_of(database)
        self._tenure = Tenure(ends=not database.is_sqlite)
        self._epoch: int | None = None

    @property
    def state(self) -> str:
        """The leader's state in `/readyz`; correct at any moment, also right after the process was suspended."""
        if self._tenure.is_over:
            return f"{OVER}; {self.trouble}" if self.trouble else OVER
        return self.trouble or READY

    def holds(self) -> bool:
        """Whether no other process can be the leader now."""
        return self._epoch is not None and not self._tenure.is_over

    async def take(self) -> int | None:
        """Become the leader; the new epoch, or None while another process holds it or the database does not answer."""
        since = self._tenure.now()
        try:
            self._epoch = await lease.take(
                self._database, self._holder, await lease.shared_clock(self._database, wall_ms)
            )
        except DatabaseTrouble as error:
            self.trouble = in_plain_words(error)
            log.warning("the lease cannot be taken now", why=self.trouble, detail=str(error))
            return None
        self.trouble = ""
        if self._epoch is not None:
            self._tenure.hold(since)
        return self._epoch

    async def keep(self) -> None:
        """Renew it until cancelled, also when it has expired by our clock: it may still be free. Raises LeaseLost."""
        while True:
            await asyncio.sleep(_AGAIN_S if self.trouble else RENEW_S)
            await self.renew()

    async def renew(self) -> None:
        """Renew it once. Raises LeaseLost."""
        if self._epoch is None:
            raise lease.LeaseLost("this process holds no lease")
        since, was_over = self._tenure.now(), self._tenure.is_over
        try:
            await lease.renew(self._database, self._epoch, await lease.shared_clock(self._database, wall_ms))
        except DatabaseTrouble as error:
            self._note(in_plain_words(error), str(error))
            return
        self._tenure.hold(since)
        self._note("", "")
        if was_over:
            log.warning("the lease had expired and was not taken: this process remains the leader")

    def _note(self, trouble: str, detail: str) -> None:
        if trouble and not self.trouble:
            log.error("the lease cannot be renewed", why=trouble, detail=detail)
        self.trouble = trouble

    async def release(self) -> None:
        """Let the next process take over at once if the lease is still ours; otherwise it expires by itself."""
        epoch, self._epoch = self._epoch, None
        if epoch is None or self._tenure.is_over:
            return
        try:
            await lease.release(self._database, epoch)
        except DatabaseTrouble as error:
            log.warning("the lease cannot be released and will expire", why=in_plain_words(error), detail=str(error))
