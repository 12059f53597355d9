"""An audit with a sealer of its own, for the tests that tamper with it."""

from pathlib import Path
from typing import Any

from sqlalchemy import text

from gateway.people.audit.entry import Cause, Via, audited
from gateway.people.audit.external_check import Outside
from gateway.people.audit.head import read_head
from gateway.people.audit.key import open_key, read_public_keys
from gateway.people.audit.sealer import DAY_MS, Sealer
from gateway.people.audit.verification import Keys, Proof, check_database
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from tests.builders.alarms import Clock

KEPT_DAYS = 365
LEADER = Cause("p-7", Via.WEB, "192.0.2.7", "alarm a-1", {"HQ": (Role.SHIFT_LEADER, Role.OPERATOR)})


class Book:
    """Rows are written, sealed, spoilt and checked; time passes when it is told to."""

    def __init__(self, database: Database, folder: Path, epoch: int) -> None:
        self.database = database
        self.clock = Clock()
        self.key_file = folder / "audit.key"
        self.checkpoints = folder / "checkpoints"
        self.head_file = folder / "audit.head"
        self.epoch = epoch
        self.sealer = self.new_sealer()
        self._written = 0

    def new_sealer(self) -> Sealer:
        key = open_key(self.key_file)
        return Sealer(self.database, self.epoch, key, self.checkpoints, self.head_file, KEPT_DAYS, self.clock)

    @property
    def keys(self) -> Keys:
        return read_public_keys(self.key_file.parent.glob("audit-*.pub"))

    async def write(self, rows: int = 1) -> None:
        """Each row in a transaction of its own, none like another."""
        for _ in range(rows):
            self._written += 1
            before, after = {"state": "无", "step": self._written}, {"state": "on_site", "share": 0.1}
            row = audited(self.clock(), "HQ", LEADER, "ticket.arrive", f"R-HQ-{self._written}", before, after)
            async with self.database.transaction() as transaction:
                transaction.add_audit(row)

    async def write_days(self, days: int, rows: int = 4) -> None:
        """So many rows on each of so many days, sealed."""
        for _ in range(days):
            await self.write(rows)
            await self.sealer.tick()
            self.clock.now += DAY_MS
        await self.sealer.tick()

    async def spoil(self, statement: str, **values: Any) -> None:
        """As somebody who may write the database."""
        async with self.database.transaction() as connection:
            await connection.execute(text(statement), values)

    async def check(self, **options: Any) -> Proof:
        """Against the own head, and whatever else is given of what stands outside of the database."""
        keys, head = options.pop("keys", self.keys), read_head(self.head_file)
        outside = {"heads": [] if head is None else [head], **options}
        return await check_database(self.database, keys, Outside(**outside))

    async def named(self, **options: Any) -> list[tuple[str, int, int]]:
        proof = await self.check(**options)
        return [(finding.what.value, finding.first, finding.last) for finding in proof.findings]


async def open_book(database: Database, folder: Path) -> Book:
    epoch = await lease.take(database, "test", Clock().now)
    assert epoch is not None
    return Book(database, folder, epoch)
