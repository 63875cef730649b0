"""The connections to the ledger: one that writes, in turn, and some that read.

SQLite before 3.51.3 can damage a WAL database when two connections write or checkpoint at
once, and `enroll` is a process of its own. So a write takes its turn twice: a lock among the
tasks of this process, and a lock on a file among the processes.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from sync.receiver.schema import bring_up_to_date

_TURN_SECONDS = 0.002
_READERS = 4
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
    "PRAGMA busy_timeout=10000",
)
_READING = ("PRAGMA query_only=ON", "PRAGMA trusted_schema=OFF", "PRAGMA busy_timeout=10000")


class Database:
    """A database file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()
        self._lock_file = -1
        self._writer = _engine(path, _WRITING, readers=0)
        self._readers = _engine(path, _READING, readers=_READERS)

    async def open(self) -> None:
        """Open the file, made if absent, and bring its schema up to date.

        What a process left in the WAL may never have been synced: it is put on the disk
        before anything is answered from it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_path = self._path.with_name(f"{self._path.name}.lock")
        self._lock_file = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        async with self.writing() as connection:
            await connection.run_sync(bring_up_to_date)
        async with self._own_turn(), self._writer.connect() as connection:
            await connection.run_sync(_settle_wal)

    async def close(self) -> None:
        """Close all connections; twice is harmless."""
        await self._readers.dispose()
        if self._lock_file >= 0:
            async with self._own_turn():
                await self._writer.dispose()
            os.close(self._lock_file)
            self._lock_file = -1

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Run the body in one transaction: committed and synced when this returns."""
        async with self._own_turn(), self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Let the body read one state of the database; keep it short."""
        async with self._readers.connect() as connection:
            yield connection

    @asynccontextmanager
    async def _own_turn(self) -> AsyncIterator[None]:
        async with self._turn:
            while not _locked(self._lock_file):  # noqa: ASYNC110 - no event crosses processes
                await asyncio.sleep(_TURN_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)


def _settle_wal(connection: Connection) -> None:
    # Beside SQLAlchemy, which would begin a transaction: within one there is no checkpoint.
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cursor.close()


def _locked(lock_file: int) -> bool:
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _engine(path: Path, pragmas: tuple[str, ...], *, readers: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
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
