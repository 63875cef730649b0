"""The connections to the ledger: one that writes, in turn, and some that read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from sync.receiver.schema import bring_up_to_date, copy_aside, is_older
from sync.receiver.turns import Turns

_READERS = 4
_CLOSING_SECONDS = 0.5
# For a lock that somebody else's tool holds; a stop within 5 s has to wait it out.
_PATIENCE = "PRAGMA busy_timeout=1000"
# synchronous=FULL: a commit is synced before it returns (NORMAL loses it in a power cut).
_WRITING = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-65536",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    _PATIENCE,
)
_READING = ("PRAGMA query_only=ON", "PRAGMA trusted_schema=OFF", _PATIENCE)


class Database:
    """A database file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = Turns(path)
        self._writer = _engine(path, _WRITING, readers=0)
        self._readers = _engine(path, _READING, readers=_READERS)

    async def open(self) -> None:
        """Open the file, made if absent, and bring its schema up to date.

        A file of an older schema is copied aside first. What a process left in the WAL may
        never have been synced: it is put on the disk before anything is answered from it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._turns.open()
        async with self._turns.own():
            async with self._writer.connect() as connection:
                older = await connection.run_sync(is_older)
            if older:
                await asyncio.to_thread(copy_aside, self._path)
            async with self._writer.begin() as connection:
                await connection.run_sync(bring_up_to_date)
            async with self._writer.connect() as connection:
                await connection.run_sync(_settle_wal)

    async def close(self) -> None:
        """Close all connections; twice is harmless."""
        await self._readers.dispose()
        if self._turns.is_open:
            try:
                async with self._turns.own(_CLOSING_SECONDS):
                    await self._writer.dispose()
            except TimeoutError:
                # Whoever holds the turn has the file open: closing ours then writes nothing.
                await self._writer.dispose()
            self._turns.close()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Run the body in one transaction: committed and synced when this returns."""
        async with self._turns.own(), self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Let the body read one state of the database; keep it short."""
        async with self._readers.connect() as connection:
            yield connection


def _settle_wal(connection: Connection) -> None:
    # Beside SQLAlchemy, which would begin a transaction: within one there is no checkpoint.
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cursor.close()


def _engine(path: Path, pragmas: tuple[str, ...], *, readers: int) -> AsyncEngine:
    engine = create_async_engine(
        # Not as text: a path may hold what means something else in a URL.
        URL.create("sqlite+aiosqlite", database=str(path)),
        # The driver's own transaction handling is off: a deferred BEGIN that then writes can
        # fail at once, whatever the busy timeout.
        connect_args={"isolation_level": None},
        pool_size=readers or 1,
        max_overflow=0,
        pool_timeout=None if not readers else 30,
    )
    begin = "BEGIN" if readers else "BEGIN IMMEDIATE"

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin_transaction)
    return engine
