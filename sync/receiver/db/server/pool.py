"""The connections of a receiver to its server, and the way to the next one after a failover.

A server that became read-only or shuts down says so: its connections are replaced at their next
use. One that is frozen or cut off says nothing: while a statement takes long, the hosts are asked
again, and if another server answers as the primary, all connections to the old one are cut.
"""

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sync.receiver.database_url import POSTGRESQL
from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.server.connect import Connector
from sync.receiver.db.server.connection import (
    POOLER_ADVICE,
    Pooling,
    ServerConnection,
    engine_arguments,
)
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
# Longer than a usual statement; with `HOST_SECONDS` far below the ten seconds of a failover.
SUSPECT_SECONDS, _LONGEST_SUSPECT_SECONDS = 3.0, 60.0
_POOL_SECONDS = 5
_CLOSE_SECONDS = 1.0
_READ_ONLY = "25006"
# The server, or a pooler before it, ends the connection or is about to.
_GONE = ("08", "57P", "25P03")
# A new connection that is read-only as well is kept this long: no storm while none can be written.
_FRESH_SECONDS = 1.0


class ServerPool:
    """Up to `size` connections made by a `Connector`. Event loop only."""

    def __init__(self, connector: Connector, size: int) -> None:
        self._connector = connector
        self._size = size
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._connections: weakref.WeakSet[ServerConnection] = weakref.WeakSet()
        self._place = ""
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection; while this takes long, look whether another server is the primary.

        Raises `DatabaseUnavailableError` if no server is found, or the one found does not answer.
        """
        watch = _Watch(self._look)
        try:
            engine = self._engine or await self._open()
            async with engine.connect() as connection:
                yield connection
        except TimeoutError:
            raise DatabaseUnavailableError(f"PostgreSQL: {self._place} does not answer") from None
        finally:
            watch.end()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        if self._engine is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._engine.dispose()
        for connection in list(self._connections):
            connection.terminate()

    async def _open(self) -> AsyncEngine:
        async with self._opening:
            if self._engine is None:
                connection = await self._connector.connect()
                self._connector.pooling = connection.pooling
                self._engine = self._new_engine(connection)
                _log_pooling(connection)
                await connection.close()
            return self._engine

    def _new_engine(self, found: ServerConnection) -> AsyncEngine:
        engine = create_async_engine(
            POSTGRESQL,
            pool_size=self._size,
            max_overflow=0,
            pool_timeout=_POOL_SECONDS,
            # The values of a statement can hold an address.
            hide_parameters=True,
            connect_args={"async_creator_fn": self._create, **engine_arguments(found.pooling)},
        )
        event.listen(engine.sync_engine, "handle_error", self._on_error)
        return engine

    async def _create(self, *_: object, **__: object) -> ServerConnection:
        connection = await self._connector.connect()
        if connection.pooling is not self._connector.pooling:
            connection.terminate()
            self._engine = None
            raise DatabaseUnavailableError(f"PostgreSQL: {connection.place} has or lost a pooler")
        self._note(connection)
        self._connections.add(connection)
        return connection

    def _note(self, connection: ServerConnection) -> None:
        if self._place not in ("", connection.place):
            log_event(_log, logging.WARNING, "hq.database_moved", to=connection.place)
        self._place = connection.place

    def _on_error(self, context: ExceptionContext) -> None:
        """Tell SQLAlchemy which errors mean that all connections have to be made again."""
        error, ours = context.original_exception, context.connection
        if ours is None or ours.closed or ours.invalidated:
            return
        connection = ours.connection.driver_connection
        assert isinstance(connection, ServerConnection)  # noqa: S101 - for the types
        error.add_note(connection.place)
        state = getattr(error, "sqlstate", None) or ""
        if state != _READ_ONLY and not state.startswith(_GONE):
            return
        if state == _READ_ONLY:
            if time.monotonic() - connection.made_at < _FRESH_SECONDS:
                return
            self._connector.forget()
        context.is_disconnect = True

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_again())

    async def _look_again(self) -> None:
        """Cut the connections to a server whose place another one took."""
        try:
            found = await self._connector.connect()
        except DatabaseUnavailableError:
            return  # nothing better is there: the statements end with the driver's timeout
        found.terminate()
        if found.is_standby or found.is_read_only:
            return
        for connection in list(self._connections):
            if connection.is_superseded_by(found):
                connection.terminate()


class _Watch:
    """Calls a function after `SUSPECT_SECONDS`, then after twice as long each time, until it ends.

    So a command that works for an hour makes few connections for it.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._seconds = SUSPECT_SECONDS
        self._timer = self._loop.call_later(self._seconds, self._on_time)

    def end(self) -> None:
        self._timer.cancel()

    def _on_time(self) -> None:
        self._seconds = min(2 * self._seconds, _LONGEST_SUSPECT_SECONDS)
        self._timer = self._loop.call_later(self._seconds, self._on_time)
        self._call()


def _log_pooling(connection: ServerConnection) -> None:
    if connection.pooling is Pooling.DIRECT:
        return
    fields = {"server": connection.place, "found": connection.pooling.value}
    if connection.pooling is Pooling.NOT_FOLLOWED:
        fields["advice"] = POOLER_ADVICE
    log_event(_log, logging.INFO, "hq.database_pooled", **fields)
