"""Which database errors are transient, and which are permanent. Data, and the look-up in it.

`DatabaseTrouble` is what a server that is away, a locked file or a full disk raises: the same work may be tried again.
`DatabaseFault` is what will fail at every try: a schema that lacks a column, a damaged file, a statement that is wrong.
Everything else that SQLAlchemy raises (a conflict of keys, a value that its column can never hold) is a fault of what
was to be written, and is neither of the two.
"""

import errno
import socket
import sqlite3
from typing import Final

import asyncpg
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseFault(DatabaseError):
    """A permanent database error: the operator must act."""


class ServerUnreachable(ConnectionError):
    """No way to the database server: its name has no address, or no network leads there."""


DatabaseTrouble = (OperationalError, InterfaceError, PoolTimeout, ConnectionError, TimeoutError)
"""Errors of a database that is unreachable, locked or full; retrying may help."""

SQLITE_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,  # a disk or a network drive that does not answer; damage has codes of its own
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_SCHEMA,
    }
)
"""Primary result codes (https://www.sqlite.org/rescode.html) after which the same statement may work."""
SQLITE_PERMANENT: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # no such table, no such column, a syntax error
        sqlite3.SQLITE_INTERNAL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,  # "database disk image is malformed"
        sqlite3.SQLITE_NOTFOUND,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Primary result codes after which it never will."""
SQLITE_PERMANENT_EXTENDED: Final = frozenset(
    {sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_CANTOPEN_ISDIR, sqlite3.SQLITE_CANTOPEN_NOTEMPDIR}
)
"""Extended result codes that are permanent though their primary code passes."""
POSTGRES_PASSING_CLASSES: Final = frozenset({"08", "28", "3D", "40", "53", "57", "58"})
"""SQLSTATE classes: no connection, no login, no database, rolled back, no room, shutting down, I/O error.

A login that is refused passes too: somebody is changing a password.
"""
POSTGRES_PASSING: Final = frozenset({"25006", "25P03", "55P03"})
"""Read-only (the address leads to a replica until fail-over is complete), idle for too long in a transaction, a lock
that was not to be had."""
POSTGRES_PERMANENT_CLASSES: Final = frozenset({"0A", "42", "XX"})
"""SQLSTATE classes: not supported; a syntax error, a missing table or column, or no right to it; damaged data."""
POSTGRES_PERMANENT: Final = frozenset({"58P01", "58P02"})
"""A file of the server's own that is missing, or there twice."""
BAD_DATA_CLASS: Final = "22"
"""A value that its column can never hold: too long, too large, an invalid character."""
REFUSED_CLASSES: Final = frozenset({"28", "3D"})
_NO_WAY: Final = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EMFILE,
     errno.ENFILE, errno.ENOENT}
)  # fmt: skip
"""Why a connection cannot be opened, besides what Python calls a ConnectionError; ENOENT: no such Unix socket yet."""


def sort_sqlite(context: ExceptionContext) -> BaseException | None:
    """SQLAlchemy's `handle_error`: SQLite's driver has one class for transient and permanent errors."""
    error = context.original_exception
    code = error.sqlite_errorcode if isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorcode") else None
    if code is None:
        return None
    if code in SQLITE_PERMANENT_EXTENDED or code & 0xFF in SQLITE_PERMANENT:
        return DatabaseFault(context.statement, None, error)
    return OperationalError(context.statement, None, error) if code & 0xFF in SQLITE_PASSING else None


def sort_postgres(context: ExceptionContext) -> BaseException | None:
    """SQLAlchemy's `handle_error`: the driver has one class for most errors; the SQLSTATE distinguishes them."""
    error = context.original_exception
    state = sqlstate(error)
    if state[:2] == BAD_DATA_CLASS:
        return DataError(context.statement, None, error)
    if isinstance(error.__cause__, asyncpg.InternalClientError):  # a session that is just being ended confuses it
        context.is_disconnect = True
        return OperationalError(context.statement, None, error)
    # The schema was migrated beside us: what the connection has prepared is out of date, and is prepared anew.
    if state in POSTGRES_PASSING or isinstance(error.__cause__, asyncpg.InvalidCachedStatementError):
        return OperationalError(context.statement, None, error)
    if state in POSTGRES_PERMANENT or state[:2] in POSTGRES_PERMANENT_CLASSES:
        return DatabaseFault(context.statement, None, error)
    return OperationalError(context.statement, None, error) if state[:2] in POSTGRES_PASSING_CLASSES else None


def sqlstate(error: BaseException | None) -> str:
    """What PostgreSQL calls an error, "" where it did not come from there."""
    return str(getattr(error, "sqlstate", None) or "")


def is_refusal(error: BaseException) -> bool:
    """Whether the server rejects the login: wrong password, no such user, no such database."""
    return isinstance(error, DBAPIError) and sqlstate(error.orig)[:2] in REFUSED_CLASSES


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a lock of PostgreSQL was not to be had within `lock_timeout`."""
    return isinstance(error, DBAPIError) and sqlstate(error.orig) == "55P03"


def unreachable(error: OSError) -> OSError:
    """An error met while connecting, as what passes where it is one of the network's."""
    if isinstance(error, socket.gaierror) or error.errno in _NO_WAY:
        return ServerUnreachable(str(error))
    return error
