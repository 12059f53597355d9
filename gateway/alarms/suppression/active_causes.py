"""Loads the alarms that currently suppress others."""

from operator import itemgetter
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.lifecycle.transitions import Written
from gateway.alarms.suppression.annunciation import subject_of
from gateway.alarms.suppression.causes import CauseBook, CauseRules
from gateway.equipment.links import read_topology
from gateway.storage.queries.index_use import after
from gateway.storage.tables import activation, alarm, alarm_is_open


async def load_causes(connection: AsyncConnection, rules: CauseRules, now: int) -> CauseBook:
    """Alarms of cause rules: active ones, and those that ended within their release time."""
    book = CauseBook(rules, await read_topology(connection))
    if not rules.ids:
        return book
    of_causes = select(alarm).where(alarm.c.rule.in_(sorted(rules.ids)))
    never_was = exists().where(
        activation.c.alarm == alarm.c.id, activation.c.disproved, activation.c.ended_at == alarm.c.returned_at
    )
    standing = of_causes.where(alarm_is_open, alarm.c.active)
    ended = of_causes.where(after(alarm.c.returned_at, now - rules.longest_release), ~alarm.c.active, ~never_was)
    found = [dict(row) for one in (standing, ended) for row in (await connection.execute(one)).mappings()]
    found.sort(key=itemgetter("id"))  # of one subject the newest alarm counts: it is last
    return book.after(((subject_of(row), row) for row in found), frozenset())


def disproved_in(written: Written) -> frozenset[str]:
    """Ids of alarms whose activation is disproved by the rows about to be written."""
    ended: list[dict[str, Any]] = [row for row in written.ended if row["disproved"]]
    at_once = (row["alarm"] for row in written.activations if row["disproved"])
    return frozenset((*(row["of_alarm"] for row in ended), *at_once))
