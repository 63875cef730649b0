"""The ledger on PostgreSQL: any number of receivers side by side on one server.

Writing is READ COMMITTED: each batch first locks its agent's row (`SELECT … FOR UPDATE`), and
every statement after that sees all that was committed before the lock was had; so the batches
of one agent come one after the other, wherever they arrive. What the lock does not cover is
two tills of one store with the same correlation id at the same moment: the unique index lets
one through, and the work of the other runs again, and then sees it.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, RowMapping, Select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sync.receiver.db.database import DatabaseUnavailableError, Values
from sync.receiver.db.migrate import bring_up_to_date
from sync.receiver.db.tables import Ledger

T = TypeVar("T")
_CONNECTIONS = 8
_ATTEMPTS = 3
# Serialization failure, deadlock, unique violation: another transaction was there first.
_AGAIN = {"40001", "40P01", "23505"}
# Any number that all receivers share: one of them changes the schema, the others wait.
_SCHEMA_LOCK = text("SELECT pg_advisory_xact_lock(8580)")
_DURABLE = {"application_name": "loyalty-hq", "synchronous_commit": "on"}
# Milliseconds. A receiver that froze within a transaction must not hold an agent's row for good.
_LIMITS = {"lock_timeout": "5000", "idle_in_transaction_session_timeout": "15000"}
_CONNECTING_SECONDS = 5
LONGEST_SECONDS = 10
# Beyond the longest statement: for a server that says nothing any more.
_SILENT_SECONDS = 5


class Postgresql:
    """A database on a server, from `open` to `close`.

    Without a `password` the driver looks for one as psql does: in the file that PGPASSFILE
    names, or ~/.pgpass. `longest_seconds` is how long a statement may take; None: as it likes.
    """

    def __init__(
        self,
        url: str,
        password: str | None = None,
        *,
        longest_seconds: float | None = LONGEST_SECONDS,
    ) -> None:
        self._url = make_url(url)
        if password is not None:
            self._url = self._url.set(password=password)
        self._connections = create_async_engine(
            self._url,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=_CONNECTING_SECONDS,
            # The values of a statement can hold an address.
            hide_parameters=True,
            connect_args={
                "async_creator_fn": _connect,
                "timeout": _CONNECTING_SECONDS,
                **_limits(longest_seconds),
            },
        )

    async def open(self) -> None:
        """Bring the schema up to date; receivers that start together do it one by one."""
        engine = self._unlimited()
        try:
            async with engine.begin() as connection:
                await connection.execute(_SCHEMA_LOCK)
                await connection.run_sync(bring_up_to_date)
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """Close all connections; twice is harmless."""
        await self._connections.dispose()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: committed and on the disk when this returns.

        Where another transaction was there first, or the connection was dead, it runs again
        from its start. Not after a COMMIT without an answer, which may have worked: what to do
        then is for the caller to say. An agent sends its batch again, and that has no effect.
        """
        failures = 0
        while True:
            async with self._connections.connect() as connection:
                try:
                    done = await connection.run_sync(work)
                except DBAPIError as error:
                    failures += 1
                    if failures == _ATTEMPTS or not _may_run_again(error):
                        raise
                else:
                    await connection.commit()
                    return done

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Let `work` read one state of the database; keep it short.

        Where the connection was dead, it runs again from its start.
        """
        return await self._again_if_dead(partial(self._read_once, work))

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row that one statement finds; None where it finds none.

        A statement sees one state by itself: without a transaction it is one round trip, not three.
        """

        async def look() -> RowMapping | None:
            async with self._connections.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                row: RowMapping | None = (
                    (await connection.execute(statement, values)).mappings().first()
                )
                return row

        return await self._again_if_dead(look)

    async def scrub(self) -> None:
        """Have the server clear away the old versions of rows, while it goes on serving.

        Its own log of changes, and copies of it, hold them until they are recycled.
        """
        engine = self._unlimited()
        try:
            async with engine.connect() as connection:
                plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
                for table in Ledger.metadata.tables:
                    await plain.execute(text(f"VACUUM {table}"))
        finally:
            await engine.dispose()

    async def _again_if_dead(self, reading: Callable[[], Awaitable[T]]) -> T:
        try:
            return await reading()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return await reading()

    async def _read_once(self, work: Callable[[Connection], T]) -> T:
        async with self._connections.connect() as connection:
            await connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            return await connection.run_sync(work)

    def _unlimited(self) -> AsyncEngine:
        """Return connections for a change of the schema, which may take its time."""
        return create_async_engine(
            self._url,
            poolclass=NullPool,
            connect_args={
                "async_creator_fn": _connect,
                "timeout": _CONNECTING_SECONDS,
                "server_settings": _DURABLE,
            },
        )


def _limits(longest_seconds: float | None) -> dict[str, object]:
    """Return what keeps the server, and the driver, from waiting for good."""
    if longest_seconds is None:
        return {"server_settings": _DURABLE | _LIMITS}
    ours = {"statement_timeout": f"{longest_seconds * 1000:.0f}"}
    return {
        "command_timeout": longest_seconds + _SILENT_SECONDS,
        "server_settings": _DURABLE | _LIMITS | ours,
    }


def _may_run_again(error: DBAPIError) -> bool:
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _AGAIN


async def _connect(
    *arguments: Any,  # noqa: ANN401 - the driver's own, handed on
    **named: Any,  # noqa: ANN401 - as above
) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect; a server that is away, starting or refusing us is one kind of trouble."""
    try:
        return await asyncpg.connect(*arguments, **named)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The server's words name the user and the database, never the password.
        raise DatabaseUnavailableError(f"PostgreSQL cannot be reached ({error})") from None
