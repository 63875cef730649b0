"""The connections to the ledger: one that writes, in turn, and some that read.

A piece of work goes to a thread as a whole and comes back when it is done: between its
statements nothing is handed from thread to thread, and the event loop goes on meanwhile.
"""

import asyncio
import contextlib
import errno
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, RowMapping, Select, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from sync.receiver.db.database import Values
from sync.receiver.db.migrate import bring_up_to_date, copy_aside, is_older
from sync.receiver.db.sqlite_write_lock import Turns

T = TypeVar("T")
_READERS = 4
# Each waits as long as the busy timeout says.
_SCRUB_ATTEMPTS = 10
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


class SqliteFile:
    """A database file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = Turns(path)
        self._writer = _engine(path, _WRITING, begin="BEGIN IMMEDIATE", connections=1)
        self._readers = _engine(path, _READING, begin="BEGIN", connections=_READERS)
        self._writing_thread = ThreadPoolExecutor(1, "ledger-writer")
        self._reading_threads = ThreadPoolExecutor(_READERS, "ledger-reader")

    async def open(self) -> None:
        """Open the file, made if absent, and bring its schema up to date.

        A file of an older schema is copied aside first. What a process left in the WAL may
        never have been synced: it is put on the disk before anything is answered from it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._turns.open()
        async with self._turns.own():
            await _to_its_end(self._writing_thread, self._bring_up_to_date)

    async def close(self) -> None:
        """Close all connections; twice is harmless."""
        await asyncio.to_thread(self._reading_threads.shutdown)
        self._readers.dispose()
        if self._turns.is_open:
            # Where the turn does not come, whoever holds it has the file open: closing ours
            # then writes nothing.
            with contextlib.suppress(TimeoutError):
                async with self._turns.own(_CLOSING_SECONDS):
                    self._writer.dispose()
            self._writer.dispose()
            self._turns.close()
        await asyncio.to_thread(self._writing_thread.shutdown)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: committed and synced when this returns.

        What is cancelled goes on to its end: nobody else may write before that.
        """
        async with self._turns.own():
            return await _to_its_end(self._writing_thread, lambda: self._written(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Let `work` read one state of the database; keep it short."""
        return await _to_its_end(self._reading_threads, lambda: self._read(work))

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row that one statement finds; None where it finds none."""
        return await self.read(lambda c: c.execute(statement, values).mappings().first())

    async def scrub(self) -> None:
        """Write the whole file anew: no byte of what was erased is left in it or in the WAL.

        It needs as much room again as the file takes. Raises `OSError`.
        """
        async with self._turns.own():
            await _to_its_end(self._writing_thread, self._scrub)

    def _scrub(self) -> None:
        # `secure_delete` overwrites what is deleted, but not what a page kept of a row that had
        # moved to another page before.
        with self._writer.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA temp_store=FILE")
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA temp_store=MEMORY")
            for _ in range(_SCRUB_ATTEMPTS):
                (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    break
            else:
                reason = "others have been reading for too long; try again, or stop what reads it"
                raise TimeoutError(errno.ETIMEDOUT, reason, str(self._path))
            cursor.close()

    def _written(self, work: Callable[[Connection], T]) -> T:
        with self._writer.begin() as connection:
            return work(connection)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection:
            return work(connection)

    def _bring_up_to_date(self) -> None:
        with self._writer.connect() as connection:
            older = is_older(connection)
        if older:
            copy_aside(self._path)
        with self._writer.begin() as connection:
            bring_up_to_date(connection)
        with self._writer.connect() as connection:
            _settle_wal(connection)


async def _to_its_end(threads: Executor, work: Callable[[], T]) -> T:
    """Run `work` in one of the threads; a cancelled task waits for its end all the same."""
    running = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise


def _settle_wal(connection: Connection) -> None:
    # Beside SQLAlchemy, which would begin a transaction: within one there is no checkpoint.
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cursor.close()


def _engine(path: Path, pragmas: tuple[str, ...], *, begin: str, connections: int) -> Engine:
    engine = create_engine(
        # Not as text: a path may hold what means something else in a URL.
        URL.create("sqlite", database=str(path)),
        # The driver's own transaction handling is off: a deferred BEGIN that then writes can
        # fail at once, whatever the busy timeout.
        connect_args={"isolation_level": None},
        pool_size=connections,
        max_overflow=0,
    )

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin_transaction)
    return engine
