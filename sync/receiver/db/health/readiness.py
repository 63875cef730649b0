"""Readiness probe of the ledger: could a batch be stored? Inserts and deletes a row.

A read is not enough: it succeeds on a full disk and on a server that became read-only. Nor is the
row: on PostgreSQL it fits into a page that the table has, where no batch finds room any more, and
another table may be missing, or not this user's.
"""

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from sync.receiver.db.database import Database, DatabaseUnavailableError
from sync.receiver.db.health.outage import outage_reason
from sync.receiver.db.tables import BootRecord, LedgerTable, TokenRecord, audit_log
from sync.runtime.network.http_errors import HttpError, unavailable

# TTL of a cached result: success is cached longer than failure.
SUCCESS_TTL_SECONDS, FAILURE_TTL_SECONDS = 10.0, 1.0
# Behind a queue of batches the write may take longer. That is no reason to take the receiver out
# of rotation: after this wait the previous result is returned, unless the write takes too long.
_WAIT_SECONDS, STALE_SECONDS = 2.0, 15.0
_RETRY_AFTER_SECONDS = 5
_NO_RIGHT = "42501"
# Tables, but for the append-only audit log, that are missing or that this user may not write to.
_MISSING = {
    "sqlite": text("""
        SELECT group_concat(value, ', ') FROM json_each(:tables)
        WHERE value NOT IN (SELECT name FROM sqlite_master WHERE type = 'table')"""),
    "postgresql": text("""
        SELECT string_agg(name, ', ') FROM json_array_elements_text(CAST(:tables AS json)) AS name
        WHERE NOT coalesce(has_table_privilege(to_regclass(name), 'SELECT')
            AND has_table_privilege(to_regclass(name), 'INSERT')
            AND has_table_privilege(to_regclass(name), 'UPDATE')
            AND has_table_privilege(to_regclass(name), 'DELETE'), false)"""),
}
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
        self._expires_at = self._began_at = now_seconds()
        self._probe: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise an `HttpError` with the reason if a batch could not be stored now."""
        reading, probe = self._start_reading(), self._start_probe()
        await asyncio.wait([task for task in (reading, probe) if task], timeout=_WAIT_SECONDS)
        if reading.done() and (error := reading.exception()) is not None:
            raise _not_ready("read", outage_reason(error)) from error
        if self._error is not None:
            raise _not_ready("written", outage_reason(self._error)) from self._error
        if self._probe is not None and self._now_seconds() - self._began_at > STALE_SECONDS:
            raise _not_ready("written", f"a write has not ended for {STALE_SECONDS:g} s")

    async def is_responding(self) -> bool:
        """Return True once the database has responded, even with an error."""
        await asyncio.wait([self._start_reading()])
        return True

    async def close(self) -> None:
        """Wait for what is in progress. Idempotent."""
        if running := [task for task in (self._reading, self._probe) if task is not None]:
            await asyncio.wait(running)

    def _start_reading(self) -> asyncio.Task[None]:
        """Read the ledger. All that ask at once share a read: nobody needs a token for it."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._database.read(_read))
            self._reading.add_done_callback(self._end_reading)
        return self._reading

    def _end_reading(self, done: asyncio.Task[None]) -> None:
        self._reading = None
        if not done.cancelled():
            # Retrieved: no warning if all that asked are gone.
            done.exception()

    def _start_probe(self) -> asyncio.Task[None] | None:
        if self._probe is None and self._now_seconds() >= self._expires_at:
            self._began_at = self._now_seconds()
            self._probe = asyncio.ensure_future(self._write())
        return self._probe

    async def _write(self) -> None:
        ttl = FAILURE_TTL_SECONDS
        try:
            await self._database.write(partial(_insert_and_delete, uuid.uuid4().hex))
        except Exception as error:  # noqa: BLE001 - whatever it is, a batch would meet it
            self._error = error
        else:
            self._error, ttl = None, SUCCESS_TTL_SECONDS
        finally:
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
    tables = {"tables": json.dumps([*LedgerTable.metadata.tables.keys() - {audit_log.name}])}
    if missing := connection.execute(_MISSING[connection.dialect.name], tables).scalar():
        words = f"missing, or the user may not write to it: {missing}"
        raise DatabaseUnavailableError(words, _NO_RIGHT)
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


def _not_ready(what: str, reason: str) -> HttpError:
    message = f"The ledger cannot be {what}: {reason}"
    return unavailable(message, _RETRY_AFTER_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE)
