"""Which tables grow with time, and how a database would find the rows that a recorded statement asks for."""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import event

from gateway.storage.database import Database

GROWING = frozenset(
    {
        "activation", "alarm", "approval", "attachment", "audit", "event", "fact", "dead_letter", "journal",
        "maintenance_window", "rule_version", "ticket", "ticket_activation", "ticket_alarm",
    }
)  # fmt: skip
"""What is written here stays for years: no tick, no step of an alarm and no page of a list may read all of it."""
LIMITED = {
    "api_token": "one a machine",
    "audit_day": "one a day",
    "audit_identity": "one",
    "equipment": "the estate",
    "equipment_link": "the estate",
    "consumer_offset": "one a consumer",
    "known_device": "browsers of the people",
    "last_message": "up to a cap",
    "lease": "one",
    "login": "removed when it has ended",
    "login_failure": "removed after a day",
    "out_of_service": "removed when it is over",
    "person": "the people",
    "quarantine": "up to a cap",
    "recovery_code": "ten a person",
    "role_grant": "the people",
    "rule_memory": "one for each rule and equipment",
    "shelf": "removed when it is over",
    "site": "the estate",
    "ticket_counter": "one a day and site, found by its key",
    "unread_topic": "up to a cap",
}
"""Why each other table stays small."""
HOLDS_WHAT_IS_OPEN = frozenset(
    {
        "ix_alarm_open_id", "ix_alarm_open_re_alarm_at", "ix_alarm_open_rule", "ix_alarm_open_site_equipment",
        "ix_activation_unended_alarm", "ix_audit_unsealed_id", "ix_maintenance_window_open_id", "ix_ticket_open_id",
    }
)  # fmt: skip
"""Partial indexes that may be read from end to end: they hold only what is open."""


class Asked(msgspec.Struct, frozen=True):
    """A statement as it went to the driver, with the first parameters it came with."""

    statement: str
    parameters: tuple[Any, ...]


@contextlib.contextmanager
def recorded(database: Database) -> Iterator[list[Asked]]:
    """Every different statement that reads or changes rows, while the block lasts."""
    asked: dict[str, Asked] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool) -> None:
        if statement.lstrip().split(None, 1)[0] in {"SELECT", "UPDATE", "DELETE", "WITH"}:
            first = parameters[0] if executemany or isinstance(parameters, list) else parameters
            asked.setdefault(statement, Asked(statement, tuple(first)))

    engine = database.engine.sync_engine
    found: list[Asked] = []
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)
        found += asked.values()


def scans_of_sqlite(file: str, asked: Iterable[Asked]) -> list[str]:
    """What SQLite would read from end to end, or sort before it takes a page of it: a line each."""
    found = []
    with contextlib.closing(sqlite3.connect(file)) as connection:
        for one in asked:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {one.statement}", one.parameters)
            steps = [row[3] for row in rows]
            found += [f"{step}: {one.statement}" for step in steps if _is_scan(step, one.statement)]
            if _sorts_a_page(steps, one.statement):
                found.append(f"sorted before a page is taken, {steps}: {one.statement}")
    return found


_SCAN = re.compile(r"SCAN (?P<table>\w+?)(_\d+)?( USING (COVERING )?INDEX (?P<index>\w+))?$")


def _is_scan(step: str, statement: str) -> bool:
    found = _SCAN.match(step)
    if found is None or found["table"] not in GROWING or found["index"] in HOLDS_WHAT_IS_OPEN:
        return False
    return not _takes_the_first_it_meets(statement)


def _takes_the_first_it_meets(statement: str) -> bool:
    """A page of everything: so many rows in the order of an index, whichever they are."""
    words = " ".join(statement.split())
    return "WHERE" not in words.partition(") AS ticket_number")[2] + words.partition("(SELECT")[0] and "LIMIT" in words


_BY_KEY = re.compile(r"SEARCH \w+ USING (INTEGER PRIMARY KEY|(COVERING )?INDEX sqlite_autoindex\w+) \(\w+=\?\)")


_OF_WHAT_IS_OPEN = ("(closed_at=?)", "ix_approval_state_expires_at (state=?")
"""Of a full index: no closing time, or a state in which requests stay for hours."""


def _sorts_a_page(steps: list[str], statement: str) -> bool:
    """Rows that were named one by one, or that are open, may be sorted; so may the newest of each branch."""
    if "USE TEMP B-TREE FOR ORDER BY" not in steps or "LIMIT" not in statement:
        return False
    reads = [step for step in steps if re.match(rf"(SCAN|SEARCH) ({'|'.join(GROWING)})\b", step)]
    is_open = any(name in reads[0] for name in (*HOLDS_WHAT_IS_OPEN, *_OF_WHAT_IS_OPEN)) if reads else False
    return bool(reads) and not _BY_KEY.match(reads[0]) and not is_open


async def scans_of_postgres(url: str, asked: Iterable[Asked], *, pages: bool, along_indexes: bool = False) -> list[str]:
    """What PostgreSQL would read from end to end: for the parameters it came with, and for any (a generic plan).

    With `pages` also what it would sort before it takes a page of it; `along_indexes` as a long deletion asks it.
    """
    found = []
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for way in ("seqscan", "hashjoin", "mergejoin") if along_indexes else ():
            await connection.execute(f"SET enable_{way} = off")
        for one in asked:
            for how, plan in await _plans(connection, one):
                if pages and "LIMIT" in one.statement and _sorts_what_grows(plan):
                    found.append(f"{how}: sorted before a page is taken: {one.statement}")
                found += [f"{how}: {node}: {one.statement}" for node in _scans_in(plan, limited=False)]
    finally:
        await connection.close()
    return found


async def _plans(connection: Any, one: Asked) -> list[tuple[str, Any]]:
    explain = "EXPLAIN (FORMAT JSON) "
    given = await connection.fetchval(explain + one.statement, *one.parameters)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE asked AS {one.statement}")
    count = len(one.parameters)
    nothing = f"({', '.join(['NULL'] * count)})" if count else ""
    generic = await connection.fetchval(f"{explain} EXECUTE asked{nothing}")
    await connection.execute("DEALLOCATE asked")
    await connection.execute("RESET plan_cache_mode")
    return [(how, msgspec.json.decode(text)[0]["Plan"]) for how, text in (("given", given), ("generic", generic))]


def _sorts_what_grows(plan: dict[str, Any], *, sorted_above: bool = False) -> bool:
    """Rows that were named one by one, or that are open, may be sorted before a page of them is taken."""
    if plan.get("Relation Name") == "shelf" or any(
        part.get("Relation Name") == "shelf" for part in plan.get("Plans", ())
    ):
        return False  # one alarm for each shelf, of which there are few
    sorted_above = sorted_above or plan["Node Type"] in {"Sort", "Incremental Sort"}
    index, condition = plan.get("Index Name", ""), plan.get("Index Cond", "")
    is_few = (
        index in HOLDS_WHAT_IS_OPEN
        or (index.startswith(("pk_", "uq_")) and "= " in condition)
        or index.startswith("ix_approval_state")
        or "closed_at IS NULL" in condition
    )
    if sorted_above and "Scan" in plan["Node Type"] and plan.get("Relation Name", "") in GROWING and not is_few:
        return not all(part.get("Index Name", "") in HOLDS_WHAT_IS_OPEN for part in plan.get("Plans", [{}]))
    return any(_sorts_what_grows(part, sorted_above=sorted_above) for part in plan.get("Plans", ()))


def _scans_in(plan: dict[str, Any], *, limited: bool) -> Iterator[str]:
    kind, table, index = plan["Node Type"], plan.get("Relation Name", ""), plan.get("Index Name", "")
    limited = limited or kind == "Limit"
    reads_all = kind == "Seq Scan" and table in GROWING
    in_order = kind in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"} and "Index Cond" not in plan
    grows = table in GROWING or any(index.startswith((f"ix_{name}_", f"pk_{name}", f"uq_{name}_")) for name in GROWING)
    takes_what_it_meets = limited and "Filter" not in plan
    if reads_all or (in_order and grows and index not in HOLDS_WHAT_IS_OPEN and not takes_what_it_meets):
        yield f"{kind} of {table or index} {index} {plan.get('Filter', '')}"
    for part in plan.get("Plans", ()):
        yield from _scans_in(part, limited=limited and kind in {"Limit", "Result", "Append", "Merge Append"})
