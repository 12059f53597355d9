"""Conditions written so that a statement can only be answered along the index that is meant for it.

Neither database has statistics at every moment (a new one, one just restored, a table that has just grown), and without
them a planner guesses. What is written here takes the wrong choices away instead of hoping for a good guess.
"""

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, and_, case, false, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

_NOTHING_IS_LATER: Final = 2**53


def beside_index(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition that is checked on the rows found otherwise: no index is looked at for it.

    PostgreSQL expects half of the rows to meet what it cannot see into, so that a page still looks soon filled.
    """
    return case((condition, true()), else_=false())


def after(column: Column[int], moment: int) -> ColumnElement[bool]:
    """Whether a time (epoch ms), or an id that counts up, is later than one.

    PostgreSQL expects a third of a table without statistics to be later than any, and reads all of it; of a range with
    two ends it expects a two-hundredth. So the range has an end, later than all.
    """
    ended: ColumnElement[bool] = and_(column > moment, column < _NOTHING_IS_LATER)
    return ended


def text_of(value: str) -> ColumnElement[Any]:
    """A constant of the program, written into the statement and not as a parameter.

    A partial index is used only where the statement itself shows that its condition holds.
    """
    return literal_column(f"'{value}'")


async def go_along_indexes(connection: AsyncConnection) -> None:
    """Let PostgreSQL find rows by indexes only, to the end of this transaction.

    For long deletions: without statistics it expects a list of fifty keys to be a quarter of a table, and reads all of
    it while the writer's turn is held. SQLite has no such setting, and does not need it.
    """
    if connection.dialect.name == "postgresql":
        ways = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
        await connection.execute(select(*(func.set_config(way, "off", true()) for way in ways)))
