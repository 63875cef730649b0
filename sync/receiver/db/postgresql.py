"""The ledger on PostgreSQL: any number of receivers share one server.

Writes are READ COMMITTED. Each batch first locks its agent's row (`SELECT … FOR UPDATE`); later
statements see everything committed before the lock was granted. So the batches of one agent are
serialized across all receivers. The lock does not cover one till that sends one session in two
epochs at the same moment: there the unique index rejects one transaction, and its retry sees the
other's row.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, RowMapping, Select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from sync.receiver.database_url import parse_server_url
from sync.receiver.db.database import LostRaceError, Values
from sync.receiver.db.limits import ALL_AT_ONCE
from sync.receiver.db.migrate import encoding_errors, is_older, migrate
from sync.receiver.db.server.connect import Connector
from sync.receiver.db.server.pool import ServerPool
from sync.receiver.db.tables import LedgerTable
from sync.runtime.settings.setting_errors import ConfigurationError

T = TypeVar("T")
_Options: TypeAlias = Mapping[str, Any]
_Run: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]
_ATTEMPTS = 3
# Serialization failure, deadlock, unique violation: retry, another transaction won the race.
_RETRYABLE = {"40001", "40P01", "23505"}
# Advisory lock: one receiver migrates the schema, the others wait. The number is arbitrary.
_SCHEMA_LOCK = text("SELECT pg_advisory_xact_lock(8580)")
# First of all tables, as each batch does: a receiver of the version before is still running.
_AGENTS_LOCK = text("LOCK TABLE agents IN ACCESS EXCLUSIVE MODE")
_DURABLE = {"synchronous_commit": "on"}
# Milliseconds. A receiver that hangs in a transaction must not hold an agent's row forever.
_LIMITS = {"lock_timeout": "5000", "idle_in_transaction_session_timeout": "15000"}
# An import may fill empty tables. A plan for any values, made while they are, reads the whole store
# once they are not, until they are analysed: that took the server ten times the processor time.
_PLANS_OF_COMMANDS = {"plan_cache_mode": "force_custom_plan"}
STATEMENT_SECONDS = 10
# Grace beyond the statement timeout, for a server that no longer responds.
_GRACE_SECONDS = 5

_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}


class Postgresql:
    """`Database` on a PostgreSQL server, or on the primary among several.

    `password` is asked at each connection. Without it the driver reads one as psql does: from the
    file named by PGPASSFILE, or ~/.pgpass. `statement_seconds` is the statement timeout; None
    disables it.
    """

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None = None,
        *,
        statement_seconds: float | None = STATEMENT_SECONDS,
    ) -> None:
        self._url = parse_server_url(url)
        self._password = password
        settings, timeout = _DURABLE | _LIMITS | _PLANS_OF_COMMANDS, None
        if statement_seconds is not None:
            limit = {"statement_timeout": f"{statement_seconds * 1000:.0f}"}
            settings, timeout = _DURABLE | _LIMITS | limit, statement_seconds + _GRACE_SECONDS
        self._pool = ServerPool(Connector(self._url, password, settings, timeout), ALL_AT_ONCE)

    async def open(self) -> None:
        """Migrate the schema; receivers that start together take turns.

        Retries after a deadlock, as with a read of several tables. Raises `ConfigurationError` for
        a database that cannot hold the texts of tills.
        """
        async with self._pool_without_timeouts() as pool:
            async for attempt in _attempts():
                with attempt:
                    async with pool.connect() as connection, connection.begin():
                        await connection.execute(_SCHEMA_LOCK)
                        await connection.run_sync(_migrate)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._pool.close()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; durable when this returns.

        Retries `work` from its start after a lost race or on a dead connection, but not after a
        COMMIT without a response: it may have succeeded, so the caller must decide. An agent
        resends its batch, which is idempotent.
        """
        async for attempt in _attempts():
            async with self._pool.connect() as connection:
                # An ORM session in `work` commits or rolls back what it has begun itself.
                await connection.begin()
                with attempt:
                    result = await connection.run_sync(work)
                # Outside of the attempt: a failed COMMIT is not retried.
                if attempt.retry_state.outcome and not attempt.retry_state.outcome.failed:
                    await connection.commit()
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot, read-only; keep it short.

        Retries `work` from its start on a dead connection.
        """
        return await self._read(_SNAPSHOT, lambda connection: connection.run_sync(work))

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row of one statement, or None.

        A single statement is consistent by itself; autocommit takes one round trip, not three.
        """

        async def first(connection: AsyncConnection) -> RowMapping | None:
            result = await connection.execute(statement, values)
            row: RowMapping | None = result.mappings().first()
            return row

        return await self._read(_AUTOCOMMIT, first)

    async def truncate_log(self) -> None:
        """Do nothing: the server recycles its own log."""

    async def scrub(self) -> None:
        """Remove dead row versions with VACUUM, online.

        The server's WAL and its archives keep them until they are recycled.
        """
        async with self._pool_without_timeouts() as pool, pool.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None, "a connection that is open"  # noqa: S101 - for the types
            for table in LedgerTable.metadata.tables:
                # By the driver, as one message: VACUUM can be in no transaction, and outside of
                # one a pooler may send two messages to two servers.
                await raw.execute(f"VACUUM {table}")

    async def _read(self, options: _Options, run: _Run[T]) -> T:
        try:
            return await self._read_once(options, run)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return await self._read_once(options, run)

    async def _read_once(self, options: _Options, run: _Run[T]) -> T:
        async with self._pool.connect() as connection:
            await connection.execution_options(**options)
            return await run(connection)

    @asynccontextmanager
    async def _pool_without_timeouts(self) -> AsyncIterator[ServerPool]:
        """Provide a connection for migrations and VACUUM."""
        pool = ServerPool(Connector(self._url, self._password, _DURABLE), 1)
        try:
            yield pool
        finally:
            await pool.close()


def _migrate(connection: Connection) -> None:
    if errors := encoding_errors(connection):
        raise ConfigurationError(errors)
    if is_older(connection):
        connection.execute(_AGENTS_LOCK)
    migrate(connection)


def _attempts() -> AsyncRetrying:
    retry = retry_if_exception(_may_retry)
    return AsyncRetrying(stop=stop_after_attempt(_ATTEMPTS), retry=retry, reraise=True)


def _may_retry(error: BaseException) -> bool:
    if not isinstance(error, DBAPIError):
        return isinstance(error, LostRaceError)
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _RETRYABLE
