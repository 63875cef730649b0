"""Readiness probe of the ledger: insert and delete a row in one transaction.

A read is not enough: it succeeds on a full disk and on a server that became read-only. Nor is the
row on PostgreSQL: it fits into a page that the table has, where no batch finds room any more.
"""

import asyncio
import contextlib
import errno
import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session, select

from sync.protocol.wire import ErrorCode
from sync.receiver.db.database import (
    Database,
    DatabaseLockedError,
    DatabaseUnavailableError,
)
from sync.receiver.db.tables import BootRecord, TokenRecord
from sync.runtime.network.http_errors import HttpError

# TTL of a cached result: success is cached longer than failure.
SUCCESS_TTL_SECONDS, FAILURE_TTL_SECONDS = 10.0, 1.0
# Behind a queue of batches the write may take longer. That is no reason to take the receiver out
# of rotation: after this wait the previous result is returned.
_WAIT_SECONDS = 2.0
_RETRY_AFTER_SECONDS = 5
FULL, _READ_ONLY = "the disk is full", "the database is read-only"
_LOCKED, _DOWN = "another process locks the database", "the database server is not reachable"
_OTHER = "the database reports an error, see the log"
_LOST = "the connection was lost"
_BUSY = "all connections to the database are in use"
# SQLSTATE classes whose messages quote no values: connection, transaction state, login, database
# name, resources, prerequisite state, operator intervention, system error.
_ABOUT_THE_SERVER = ("08", "25", "28", "3D", "53", "55", "57", "58")
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
}
# disk_full, read_only_sql_transaction, lock_not_available.
_BY_POSTGRESQL = {"53100": FULL, "25006": _READ_ONLY, "55P03": _LOCKED}
_BY_SYSTEM = {errno.ENOSPC: FULL, errno.EROFS: _READ_ONLY, errno.ETIMEDOUT: _LOCKED}
_PRIMARY_CODE = 0xFF
_NO_RIGHT = "42501"
# In the tablespace of the ledger, by default that of the database; too short to be compressed.
_ROOM = (
    text("""
        SELECT set_config('temp_tablespaces', coalesce((
            SELECT quote_ident(spcname)
            FROM pg_class c JOIN pg_tablespace s ON s.oid = reltablespace
            WHERE c.oid = to_regclass('sessions')), ''), true)"""),
    text("CREATE TEMPORARY TABLE loyalty_room (filler text) ON COMMIT DROP"),
    text("INSERT INTO loyalty_room SELECT repeat('.', 1900) FROM generate_series(1, 540)"),
)


class Readiness:
    """Readiness check with a cached result. `now_seconds` is a monotonic clock."""

    def __init__(self, database: Database, now_seconds: Callable[[], float]) -> None:
        self._database = database
        self._now_seconds = now_seconds
        self._error: Exception | None = None
        self._expires_at = now_seconds()
        self._probe: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise an `HttpError` with the reason if the ledger cannot be read or written."""
        try:
            await self._read()
        except (SQLAlchemyError, OSError) as error:
            raise _not_ready("read", error) from error
        await self._refresh()
        if self._error is not None:
            raise _not_ready("written", self._error) from self._error

    async def is_responding(self) -> bool:
        """Return True once the database has responded, even with an error."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._read()
        return True

    async def close(self) -> None:
        """Wait for what is in progress. Idempotent."""
        if running := [task for task in (self._reading, self._probe) if task is not None]:
            await asyncio.wait(running)

    async def _read(self) -> None:
        """Read the ledger. All that ask at once share a read: nobody needs a token for it."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._database.read(_read))
            self._reading.add_done_callback(self._end_reading)
        await asyncio.shield(self._reading)

    def _end_reading(self, done: asyncio.Task[None]) -> None:
        self._reading = None
        if not done.cancelled():
            # Retrieved: no warning if all that asked are gone.
            done.exception()

    async def _refresh(self) -> None:
        if self._probe is None and self._now_seconds() >= self._expires_at:
            self._probe = asyncio.ensure_future(self._write())
        if self._probe is not None:
            await asyncio.wait([self._probe], timeout=_WAIT_SECONDS)

    async def _write(self) -> None:
        try:
            await self._database.write(partial(_insert_and_delete, uuid.uuid4().hex))
        except (SQLAlchemyError, OSError) as error:
            self._error = error
        else:
            self._error = None
        finally:
            ttl = SUCCESS_TTL_SECONDS if self._error is None else FAILURE_TTL_SECONDS
            self._expires_at = self._now_seconds() + ttl
            self._probe = None


def _read(connection: Connection) -> None:
    with Session(connection) as session:
        session.exec(select(TokenRecord.store_id).limit(1)).first()


def _insert_and_delete(boot_id: str, connection: Connection) -> None:
    # Belongs to no store and is deleted before the commit, yet forces a write to the disk. The
    # unique id keeps concurrent probes of several receivers from waiting for each other.
    with Session(connection) as session:
        row = BootRecord(store_id="", till_id="", boot_id=boot_id, zero_at=datetime.now(UTC))
        session.add(row)
        session.flush()
        session.delete(row)
        session.flush()
    if connection.dialect.name == "postgresql":
        _take_room(connection)


def _take_room(connection: Connection) -> None:
    """Write a mebibyte beside the ledger, to a table that ends with the transaction."""
    try:
        with connection.begin_nested():
            for statement in _ROOM:
                connection.execute(statement)
    except DBAPIError as error:
        # A user may lack the right to make temporary tables; then the row alone is the probe.
        if getattr(error.orig, "sqlstate", None) != _NO_RIGHT:
            raise


def _not_ready(what: str, error: Exception) -> HttpError:
    return HttpError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"The ledger cannot be {what}: {outage_reason(error)}",
        ErrorCode.UNAVAILABLE,
        {"Retry-After": str(_RETRY_AFTER_SECONDS)},
    )


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


def outage_reason(error: Exception) -> str:
    """Return the reason in our own words: the database's message may hold confidential data."""
    match getattr(error, "orig", None) or error:
        case DatabaseUnavailableError():
            return _DOWN
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
