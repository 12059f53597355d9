"""A database with a long past: everything that stays is there many times, made by the database itself in a moment."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from tests.builders.alarms import T0

DAY_MS: Final = 86_400_000
_TEXTS: Final = '{"en": "x", "zh-CN": "x"}'
_PRIORITIES: Final = "CASE i % 4 WHEN 0 THEN 'critical' WHEN 1 THEN 'high' WHEN 2 THEN 'medium' ELSE 'low' END"
_SITE: Final = "CASE i % 3 WHEN 0 THEN 'HQ' ELSE 'B' END"
_AT: Final = f"{T0 - 400 * DAY_MS} + i * (1000 * :spread)"
_ROWS: Final[dict[str, dict[str, str]]] = {
    "alarm": {
        "id": "'00a' || (1000000 + i)", "site": _SITE, "equipment": "'P-' || (i % 50)", "kind": "'pump'",
        "part": "''", "zone": "''", "rule": "'pump.' || (i % 20)", "title": f"'{_TEXTS}'", "advice": f"'{_TEXTS}'",
        "priority": _PRIORITIES, "life_safety": "false", "latching": "false", "state": "'normal'", "active": "false",
        "raised_at": _AT, "received_at": _AT, "returned_at": f"{_AT} + 500", "acknowledged_at": f"{_AT} + 600",
        "acknowledged_by": "'demo:operator'", "closed_at": f"{_AT} + 600", "activations": "1", "field": "'flow'",
        "unit": "''", "wants_ticket": "'repair'", "playbook": "''", "drill": "false", "version": "3",
    },
    "activation": {
        "id": "'00b' || (1000000 + i)", "identity": "'past ' || i", "alarm": "'00a' || (1000000 + i)", "site": _SITE,
        "equipment": "'P-' || (i % 50)", "part": "''", "rule": "'pump.' || (i % 20)", "priority": _PRIORITIES,
        "started_at": _AT, "received_at": _AT, "ended_at": f"{_AT} + 500", "acknowledged_at": f"{_AT} + 600",
        "ticketed_at": _AT, "disproved": "false", "drill": "false",
    },
    "ticket": {
        "number": "'R-PAST-' || (1000000 + i)", "id": "'00c' || (1000000 + i)", "type": "'repair'", "site": _SITE,
        "equipment": "'P-' || (i % 50)", "alarm": "'00a' || (1000000 + i)", "title": f"'{_TEXTS}'",
        "priority": _PRIORITIES, "state": "CASE i % 5 WHEN 0 THEN 'cancelled' ELSE 'closed' END", "playbook": "''",
        "opened_at": _AT, "closed_at": f"{_AT} + 900", "drill": "false", "version": "7",
    },
    "ticket_alarm": {
        "ticket": "'R-PAST-' || (1000000 + i)", "alarm": "'00a' || (1000000 + i)", "joined_at": _AT,
    },
    "ticket_activation": {
        "activation": "'00b' || (1000000 + i)", "ticket": "'R-PAST-' || (1000000 + i)",
    },
    "journal": {
        "subject": "'alarm'", "thing": "'00a' || (1000000 + i)", "at": _AT, "event": "'raised'", "before": "''",
        "after": "'normal'", "actor": "'system:rules'", "note": "''",
    },
    "audit": {
        "at": _AT, "site": _SITE, "actor": "CASE i % 2 WHEN 0 THEN 'system:rules' ELSE 'demo:operator' END",
        "via": "'fact'", "origin": "''", "act": "CASE i % 2 WHEN 0 THEN 'alarm.raised' ELSE 'alarm.acknowledged' END",
        "thing": "'00a' || (1000000 + i)", "cause": "''", "seq": "i", "hash": "'0'",
    },
    "fact": {
        "at": _AT, "site": _SITE, "kind": "'alarm.past'", "thing": "'00a' || (1000000 + i)", "body": "'{}'",
    },
    "event": {
        "digest": "'past' || i", "site": _SITE, "kind": "'fire_panel'", "equipment": "'FP-1'", "fields": "'{}'",
        "quality": "0", "measured_at": _AT, "received_at": _AT,
    },
    "attachment": {
        "id": "'00d' || i", "ticket": "'R-PAST-' || (1000000 + i)", "site": _SITE, "name": "'x'",
        "media_type": "'image/png'", "size": "1", "sha256": "''", "position": "false", "person": "'demo:operator'",
        "at": _AT,
    },
    "dead_letter": {
        "consumer": "'tickets'", "fact": "i", "at": _AT, "site": _SITE, "kind": "'alarm.raised'", "thing": "'x'",
        "body": "'{}'", "error": "''",
    },
    "maintenance_window": {
        "id": "'00e' || (1000000 + i)", "site": _SITE, "kind": "'pump'", "equipment": "'P-' || (i % 50)", "part": "''",
        "zone": "''", "starts_at": _AT, "ends_at": f"{_AT} + 900", "person": "'demo:operator'", "reason": "''",
        "created_at": _AT, "outcome": "'over'", "version": "1",
    },
    "approval": {
        "id": "'00f' || (1000000 + i)", "site": _SITE, "act": "'shelve_alarm'", "method": "'POST'", "route": "'x'",
        "path": "'{}'", "query": "'{}'", "changes": "'[]'", "thing": "''", "reason": "''",
        "requested_by": "'demo:operator'", "via": "'web'", "origin": "''", "at": _AT, "expires_at": f"{_AT} + 900",
        "state": "'refused'", "decided_by": "'demo:manager'", "decided_at": f"{_AT} + 800", "note": "''",
        "outcome": "''", "version": "2",
    },
    "rule_version": {
        "rule": "'pump.' || (i % 20)", "site": _SITE, "equipment": "''", "version": "i", "changes": "'{}'",
        "person": "'demo:manager'", "at": _AT, "note": "''", "superseded_by": "i + 1",
    },
}  # fmt: skip
"""Table -> column -> the SQL of its value in row `i`, which both databases understand."""


async def fill(database: Database, alarms: int, *tables: str) -> None:
    """Write so many past alarms, and as many rows of everything else that stays; of `tables` only, if any are named.

    Nothing of it is open.
    """
    async with database.transaction() as connection:
        for table, columns in _ROWS.items():
            if not tables or table in tables:
                await _fill(connection, table, columns, alarms)


async def _fill(connection: AsyncConnection, table: str, columns: dict[str, str], many: int) -> None:
    spread = str(max(1, 34_560_000 // many))  # over the four hundred days
    names, values = ", ".join(f'"{name}"' for name in columns), ", ".join(columns.values()).replace(":spread", spread)
    rows = f"WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {many})"
    statement = f"INSERT INTO {table} ({names}) {rows} SELECT {values} FROM n"
    await connection.execute(text(statement.replace(":", r"\:")))
