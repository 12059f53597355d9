"""Keeps the lease of the alarms: renews it, and knows without asking anybody when it is over."""

import asyncio
from typing import Final

import structlog

from gateway.api.platform.platform import READY
from gateway.clocks import wall_ms
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership import lease
from gateway.storage.leadership.tenure import Tenure
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

RENEW_S: Final = lease.LIFETIME_MS / 3000
_AGAIN_S: Final = 0.5
"""After a renewal that failed: there is not time for many."""
OVER: Final = "the lease of the alarms is over: another process may own them"


class LeaseKeeper:
    """The lease as this process holds it; taken again and again."""

    def __init__(self, database: Database) -> None:
        self.trouble = ""
        """Why it could not be taken or renewed the last time, "" when it could."""
        self._database = database
        self._holder = lease.holder_of(database)
        self._tenure = Tenure(ends=not database.is_sqlite)
        self._epoch: int | None = None

    @property
    def state(self) -> str:
        """What `/readyz` says of the owner. True at any moment, also at the first after the process was frozen."""
        if self._tenure.is_over:
            return f"{OVER}; {self.trouble}" if self.trouble else OVER
        return self.trouble or READY

    def holds(self) -> bool:
        """Whether nobody else can own the alarms now."""
        return self._epoch is not None and not self._tenure.is_over

    async def take(self) -> int | None:
        """Become the owner; the new epoch, or None while another process holds it or the database does not answer."""
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
        """Renew it until cancelled, even when it is over by our clock: nobody may have taken it. Raises LeaseLost."""
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
            log.warning("the lease was over and nobody had taken it: this process goes on owning the alarms")

    def _note(self, trouble: str, detail: str) -> None:
        if trouble and not self.trouble:
            log.error("the lease cannot be renewed", why=trouble, detail=detail)
        self.trouble = trouble

    async def release(self) -> None:
        """Let the next process take over at once, where it is still ours; where it is not, it ends by itself."""
        epoch, self._epoch = self._epoch, None
        if epoch is None or self._tenure.is_over:
            return
        try:
            await lease.release(self._database, epoch)
        except DatabaseTrouble as error:
            log.warning("the lease cannot be released and ends by itself", why=in_plain_words(error), detail=str(error))
