"""Words for an outage of the database: for everybody, and for the log alone."""

import errno
import sqlite3

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sync.receiver.db.database import DatabaseLockedError, DatabaseUnavailableError

FULL = "the disk is full"
_READ_ONLY = "the database is read-only"
_LOCKED, _DOWN = "another process locks the database", "the database server is not reachable"
_OTHER = "the database reports an error, see the log"
_LOST = "the connection was lost"
_BUSY = "all connections to the database are in use"
_NO_TABLE = "a table is missing or may not be written, see the log"
# SQLSTATE classes whose messages quote no values: connection, transaction state, login, database
# name, a table's rights and absence, resources, prerequisite state, operator intervention, system.
_ABOUT_THE_SERVER = ("08", "25", "28", "3D", "42501", "42P01", "53", "55", "57", "58")
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
}
_BY_POSTGRESQL = {
    "01000": "a commit was not confirmed by the synchronous standby",
    "08007": "a commit had no answer from the database server, or from its synchronous standby",
    "08P01": "the database server, or a pooler before it, refuses the connection",
    "25006": _READ_ONLY,
    "28000": "the database server refuses the login",
    "28P01": "the database server refuses the login",
    "3D000": "the database does not exist",
    "40000": "the transaction was rolled back, see the log",
    "40001": "too many requests of one till at once",
    "40P01": "too many requests of one till at once",
    "42501": _NO_TABLE,
    "42P01": _NO_TABLE,
    "53100": FULL,
    "53300": "the database server has no connection left",
    "55P03": _LOCKED,
    "57014": "a statement took too long",
    "57P03": "the database server is starting or stopping",
}
_BY_SYSTEM = {errno.ENOSPC: FULL, errno.EROFS: _READ_ONLY, errno.ETIMEDOUT: _LOCKED}
_PRIMARY_CODE = 0xFF


def outage_cause(error: Exception) -> str | None:
    """Return what the database server said, with its host and port, for the log alone.

    None of errors about values, which a message may quote, and of SQLite, which needs no more than
    the reason.
    """
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, DatabaseUnavailableError):
        return str(cause)
    if (getattr(cause, "sqlstate", None) or "").startswith(_ABOUT_THE_SERVER):
        said = str((cause.__cause__ or cause).args[0])
    elif getattr(error, "connection_invalidated", False):
        said = _LOST  # in the driver's words, which could be about a value
    else:
        return None
    place = next(iter(getattr(cause, "__notes__", ())), None)
    return f"PostgreSQL: {place}: {said}" if place else said


def outage_reason(error: BaseException) -> str:
    """Return the reason in our own words: the database's message may hold confidential data."""
    match getattr(error, "orig", None) or error:
        case DatabaseUnavailableError() as cause:
            return _BY_POSTGRESQL.get(cause.sqlstate or "", _DOWN)
        case PoolTimeoutError():
            return _BUSY
        case DatabaseLockedError() as cause:
            return str(cause.strerror)
        case sqlite3.Error() as cause:
            return _BY_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE, _OTHER)
        case OSError() as cause:
            return _BY_SYSTEM.get(cause.errno or 0, _OTHER)
        case cause:
            return _BY_POSTGRESQL.get(getattr(cause, "sqlstate", None) or "", _OTHER)
