"""The unit of work: a connection within one transaction, and the rows that are to be recorded of what it changes."""

from typing import Final

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.storage.postgres.connections import tell_others
from gateway.storage.records import AuditRow, JournalRow, NewFact
from gateway.storage.tables import audit, fact, journal


class TransactionOver(Exception):
    """It is committed or rolled back: what is added now would never be written."""


class Transaction(AsyncConnection):
    """Yielded by `Database.transaction`, which writes the added rows once, right before the commit.

    A function that records something takes a Transaction; one that only executes statements takes an AsyncConnection.
    The rows of each table get their ids in the order in which they were added. Statements do not see them before
    `flush`, and where writing them fails, nothing of the transaction stays.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Entering it as a context connects."""
        super().__init__(engine)
        self._journal: Final[list[JournalRow]] = []
        self._audit: Final[list[AuditRow]] = []
        self._facts: Final[list[NewFact]] = []

    def add_journal(self, *rows: JournalRow) -> None:
        """Add lines to the journals of alarms, tickets and maintenance windows. Raises TransactionOver."""
        self._require_open()
        self._journal.extend(rows)

    def add_audit(self, *rows: AuditRow) -> None:
        """Add rows to the audit. Raises TransactionOver."""
        self._require_open()
        self._audit.extend(rows)

    def add_facts(self, *facts: NewFact) -> None:
        """Add facts, which consumers read after the commit. Raises TransactionOver."""
        self._require_open()
        self._facts.extend(facts)

    async def flush(self) -> None:
        """Write what was added since the last flush, so that further statements of the transaction see it."""
        if self._facts and self.dialect.name == "postgresql":
            await tell_others(self)
        for table, rows in ((journal, self._journal), (audit, self._audit), (fact, self._facts)):
            if rows:
                await self.execute(insert(table), [msgspec.structs.asdict(row) for row in rows])
                rows.clear()

    def _require_open(self) -> None:
        if not self.in_transaction():
            raise TransactionOver("rows are recorded within the transaction of the change")
