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

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from sync.protocol.wire import ErrorCode
from sync.receiver.db.database import Database, DatabaseUnavailableError
from sync.receiver.db.tables import BootRow, TokenRow, table_of
from sync.runtime.http_errors import HttpError

# TTL of a cached result: success is cached longer than failure.
GOOD_FOR_SECONDS, BAD_FOR_SECONDS = 10.0, 1.0
# Behind a queue of batches the write may take longer. That is no reason to take the receiver out
# of rotation: after this wait the previous result is returned.
_PATIENCE_SECONDS = 2.0
_RETRY_AFTER_SECONDS = 5
_FULL, _READ_ONLY = "the disk is full", "the database is read-only"
_LOCKED, _AWAY = "others hold the database locked", "the database server cannot be reached"
_OTHER = "the database reports an error, which stands in the log"
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
}
# disk_full, read_only_sql_transaction, lock_not_available.
_BY_POSTGRESQL = {"53100": _FULL, "25006": _READ_ONLY, "55P03": _LOCKED}
_BY_SYSTEM = {errno.ENOSPC: _FULL, errno.EROFS: _READ_ONLY, errno.ETIMEDOUT: _LOCKED}
_PRIMARY_CODE = 0xFF
_boots, _tokens = table_of(BootRow), table_of(TokenRow)


class Readiness:
    """Readiness check with a cached result. `now_seconds` is a monotonic clock."""

    def __init__(self, database: Database, now_seconds: Callable[[], float]) -> None:
        self._database = database
        self._now_seconds = now_seconds
        self._trouble: Exception | None = None
        self._holds_until = now_seconds()
        self._looking: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise an `HttpError` with the reason if the ledger cannot be read or written."""
        try:
            await self._database.read(_read)
        except (SQLAlchemyError, OSError) as error:
            raise _not_ready("read", error) from error
        await self._look()
        if self._trouble is not None:
            raise _not_ready("written", self._trouble) from self._trouble

    async def is_responding(self) -> bool:
        """Return True once the database has responded, even with an error."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._database.read(_read)
        return True

    async def close(self) -> None:
        """Wait for the probe in progress. Idempotent."""
        if self._looking is not None:
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        if self._looking is None and self._now_seconds() >= self._holds_until:
            self._looking = asyncio.ensure_future(self._write())
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=_PATIENCE_SECONDS)

    async def _write(self) -> None:
        try:
            await self._database.write(partial(_write_and_erase, uuid.uuid4().hex))
        except (SQLAlchemyError, OSError) as error:
            self._trouble = error
        else:
            self._trouble = None
        finally:
            good_for = GOOD_FOR_SECONDS if self._trouble is None else BAD_FOR_SECONDS
            self._holds_until = self._now_seconds() + good_for
            self._looking = None


def _read(connection: Connection) -> None:
    connection.execute(select(_tokens.c.store_id).limit(1))


def _write_and_erase(name: str, connection: Connection) -> None:
    # Belongs to no store and is deleted before the commit, yet forces a write to the disk. The
    # unique name keeps concurrent probes of several receivers from waiting for each other.
    row = {"store_id": "", "till_id": "", "boot_id": name, "zero_at": datetime.now(UTC)}
    connection.execute(insert(_boots), row)
    this_one = (_boots.c.store_id == "", _boots.c.till_id == "", _boots.c.boot_id == name)
    connection.execute(delete(_boots).where(*this_one))


def _not_ready(what: str, error: Exception) -> HttpError:
    return HttpError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"The ledger cannot be {what}: {_reason(error)}",
        ErrorCode.UNAVAILABLE,
        {"Retry-After": str(_RETRY_AFTER_SECONDS)},
    )


def _reason(error: Exception) -> str:
    """Return the reason in our own words: the database's message may hold confidential data."""
    match getattr(error, "orig", None) or error:
        case DatabaseUnavailableError():
            return _AWAY
        case sqlite3.Error() as cause:
            return _BY_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE, _OTHER)
        case OSError() as cause:
            return _BY_SYSTEM.get(cause.errno or 0, _OTHER)
        case cause:
            return _BY_POSTGRESQL.get(getattr(cause, "sqlstate", None) or "", _OTHER)
