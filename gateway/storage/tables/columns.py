"""The metadata of all tables, and columns that many of them have.

Times are epoch milliseconds UTC (BIGINT), so that both databases keep them alike.
"""

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    TypeDecorator,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowId: Final = BigInteger().with_variant(Integer, "sqlite")

"""SQLite generates numbers only for INTEGER keys."""


def time(name: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, index=index)


class _Texts(TypeDecorator[dict[str, str]]):
    """Many rows have the same few texts: each is parsed once, and the result is shared and immutable."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        parse = super().result_processor(dialect, coltype)
        return parse and lru_cache(_TEXTS_KNOWN)(parse)


_TEXTS_KNOWN: Final = 4_096


def texts(name: str) -> Column[dict[str, str]]:
    """A text in both languages: {"en", "zh-CN"}."""
    return Column(name, _Texts, nullable=False)


def partial(name: str, *columns: str, where: str) -> Index:
    """An index of only those rows that meet `where`, as SQL.

    An index of what is open says so by `IS NULL`: a table without statistics makes PostgreSQL expect few rows of that,
    but nearly all rows of `IS NOT NULL`, and it would read the whole table.
    """
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def version() -> Column[int]:
    """Rises with each change; a stale change is refused."""
    return Column("version", Integer, nullable=False, default=1)


def drill() -> Column[bool]:
    """Part of an exercise: marked everywhere, never notified outside, counted only in its own figures."""
    return Column("drill", Boolean, nullable=False, default=False)
