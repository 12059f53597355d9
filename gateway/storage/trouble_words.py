"""Database errors as sentences for operators; the details go to the log."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from collectors.disk.trouble_words import words_for_file
from gateway.storage.database_errors import DatabaseFault, sqlstate

_OF_STATES: Final = {
    "53100": "the disk of the PostgreSQL server is full: free space there",
    "53200": "the PostgreSQL server has no memory left",
    "53300": "the PostgreSQL server takes no more connections: raise max_connections or end others",
    "57P01": "the PostgreSQL server is being stopped or has ended the connection",
    "57P03": "the PostgreSQL server is starting",
    "57014": "the PostgreSQL server was too slow and the statement was ended",
    "55P03": "another writer has held the database for too long",
    "25006": "the PostgreSQL server is read-only: the address leads to a replica",
}
_OF_CLASSES: Final = {
    "08": "the connection to the PostgreSQL server is lost",
    "28": "the PostgreSQL server refuses the user or the password: check storage.database_url",
    "3D": "the PostgreSQL server has no such database: check storage.database_url",
    "40": "the PostgreSQL server has rolled the transaction back; it is tried again",
    "42": "the database does not have the expected tables or rights: run `gengfu migrate`",
    "53": "the PostgreSQL server is short of resources: look at its disk, memory and connections",
    "57": "the PostgreSQL server is being stopped or is starting",
    "58": "the PostgreSQL server cannot use its disk: check it",
    "XX": "the data of the PostgreSQL server are damaged: restore them from a backup",
}
_CONFLICT: Final = "what was to be written conflicts with what is in the database; the log has the detail"
_BAD_VALUE: Final = "a text or number in it cannot be kept in the database; the log has the detail"
_NO_ANSWER: Final = "the database does not answer: check that it runs and can be reached"
_TOO_SLOW: Final = "the database is too slow or too busy to answer in time"
_FAULT: Final = "the database cannot carry this out, now or later; the log has the detail"


def in_plain_words(error: BaseException) -> str:
    """A sentence for a database error, without the driver's text, the statement or its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(error, IntegrityError):
        return _CONFLICT
    if isinstance(error, DataError):
        return _BAD_VALUE
    if state := sqlstate(cause):
        return _OF_STATES.get(state) or _OF_CLASSES.get(state[:2], _FAULT)
    if isinstance(cause, sqlite3.Error):
        return f"the database file cannot be used: {words_for_file(cause)}"
    if isinstance(error, PoolTimeout | TimeoutError) or isinstance(cause, TimeoutError):
        return _TOO_SLOW
    return _FAULT if isinstance(error, DatabaseFault) else _NO_ANSWER
