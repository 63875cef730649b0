"""Readiness probe of the ledger: insert and delete a row in one transaction.

A read is not enough: it succeeds on a full disk and on a server that became read-only.
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

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
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
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
}
# disk_full, read_only_sql_transaction, lock_not_available.
_BY_POSTGRESQL = {"53100": FULL, "25006": _READ_ONLY, "55P03": _LOCKED}
_BY_SYSTEM = {errno.ENOSPC: FULL, errno.EROFS: _READ_ONLY, errno.ETIMEDOUT: _LOCKED}
_PRIMARY_CODE = 0xFF


class Readiness:
    """Readiness check with a cached result. `now_seconds` is a monotonic clock."""

    def __init__(self, database: Database, now_seconds: Callable[[], float]) -> None:
        self._database = database
        self._now_seconds = now_seconds
        self._error: Exception | None = None
        self._expires_at = now_seconds()
        self._probe: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise an `HttpError` with the reason if the ledger cannot be read or written."""
        try:
            await self._database.read(_read)
        except (SQLAlchemyError, OSError) as error:
            raise _not_ready("read", error) from error
        await self._refresh()
        if self._error is not None:
            raise _not_ready("written", self._error) from self._error

    async def is_responding(self) -> bool:
        """Return True once the database has responded, even with an error."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._database.read(_read)
        return True

    async def close(self) -> None:
        """Wait for the probe in progress. Idempotent."""
        if self._probe is not None:
            await asyncio.wait([self._probe])

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


def _not_ready(what: str, error: Exception) -> HttpError:
    return HttpError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"The ledger cannot be {what}: {outage_reason(error)}",
        ErrorCode.UNAVAILABLE,
        {"Retry-After": str(_RETRY_AFTER_SECONDS)},
    )


def outage_reason(error: Exception) -> str:
    """Return the reason in our own words: the database's message may hold confidential data."""
    match getattr(error, "orig", None) or error:
        case DatabaseUnavailableError():
            return _DOWN
        case DatabaseLockedError() as cause:
            return str(cause.strerror)
        case sqlite3.Error() as cause:
            return _BY_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE, _OTHER)
        case OSError() as cause:
            return _BY_SYSTEM.get(cause.errno or 0, _OTHER)
        case cause:
            return _BY_POSTGRESQL.get(getattr(cause, "sqlstate", None) or "", _OTHER)
