"""The ledger in a SQLite file: one write connection and a pool of read connections.

A unit of work runs in a thread as a whole: there is no thread switch between its statements,
and the event loop is never blocked.
"""

import asyncio
import contextlib
import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, RowMapping, Select, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from sync.receiver.db.database import DatabaseLockedError, Values
from sync.receiver.db.migrate import copy_aside, is_older, migrate
from sync.receiver.db.sqlite_write_lock import COMMAND_SECONDS, WriteLock
from sync.runtime.files.atomic_file import make_directory
from sync.runtime.files.foreign_wal import rename_foreign_wal
from sync.runtime.files.lock_holder import lock_holder
from sync.runtime.files.private_files import (
    create_private,
    make_private_directory,
    require_safe_ancestors,
)
from sync.runtime.files.sqlite_backup import mark_as_opened
from sync.runtime.logging import log_event

T = TypeVar("T")
_log = logging.getLogger(__name__)
_READERS = 4
_PRIMARY_CODE = 0xFF
# Each attempt waits for the busy timeout.
_CHECKPOINT_ATTEMPTS = 10
_CLOSE_SECONDS = 0.5
# For a lock held by a foreign tool. Short, because a stop within 5 s has to wait it out. Once it is
# known that the file is locked next to nothing is waited: all that is queued gets its answer.
_BUSY_TIMEOUT, _KNOWN_LOCK_TIMEOUT = "PRAGMA busy_timeout=1000", "PRAGMA busy_timeout=10"
# synchronous=FULL: a commit is synced before it returns (NORMAL loses it in a power cut).
_WRITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-65536",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    _BUSY_TIMEOUT,
)
_READ_PRAGMAS = ("PRAGMA query_only=ON", "PRAGMA trusted_schema=OFF", _BUSY_TIMEOUT)


class SqliteFile:
    """`Database` in a SQLite file."""

    def __init__(
        self, path: Path, *, owns_directory: bool = False, lock_seconds: float = COMMAND_SECONDS
    ) -> None:
        """Keep the file at `path`; `owns_directory`: no other program has files beside it.

        `lock_seconds`: how long a write waits for one of another process.
        """
        self._path = path
        self._owns_directory = owns_directory
        self._lock = WriteLock(path, lock_seconds)
        self._is_locked = False
        self._writer = _engine(path, _WRITE_PRAGMAS, begin="BEGIN IMMEDIATE", connections=1)
        self._readers = _engine(path, _READ_PRAGMAS, begin="BEGIN", connections=_READERS)
        self._write_thread = ThreadPoolExecutor(1, "ledger-writer")
        self._read_threads = ThreadPoolExecutor(_READERS, "ledger-reader")

    async def open(self) -> None:
        """Open the file, create it if absent, and migrate the schema.

        A file with an older schema is backed up first. The WAL of a killed process may never
        have been synced, so it is checkpointed before anything is read from it.
        """
        if self._owns_directory:
            make_private_directory(self._path.parent)
        else:
            make_directory(self._path.parent)
            require_safe_ancestors(self._path)
        self._lock.open()
        async with self._lock.acquire(COMMAND_SECONDS):
            # The WAL and its index get the mode of the database.
            create_private(self._path)
            await _run_to_completion(self._write_thread, self._migrate)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        for threads in (self._read_threads, self._write_thread):
            await asyncio.to_thread(threads.shutdown)
        self._readers.dispose()
        if self._lock.is_open:
            # The last connection checkpoints as it closes, which needs the lock. If another
            # process holds it, that one has the file open and closing ours writes nothing.
            with contextlib.suppress(TimeoutError):
                async with self._lock.acquire(_CLOSE_SECONDS):
                    self._writer.dispose()
            self._writer.dispose()
            self._lock.close()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; committed and synced when this returns.

        If cancelled, it still runs to its end with the lock held.
        """
        async with self._lock.acquire():
            return await _run_to_completion(self._write_thread, lambda: self._write(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot, read-only; keep it short."""
        return await _run_to_completion(self._read_threads, lambda: self._read(work))

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row of one statement, or None."""
        return await self.read(lambda c: c.execute(statement, values).mappings().first())

    async def truncate_log(self) -> None:
        """Copy the WAL into the file and truncate it, unless a reader needs it."""
        async with self._lock.acquire():
            await _run_to_completion(self._write_thread, self._truncate_log)

    async def scrub(self) -> None:
        """Rewrite the file with VACUUM, so that no deleted byte is left in it or in the WAL.

        Needs free disk space of the file's size. Raises `OSError`.
        """
        async with self._lock.acquire():
            await _run_to_completion(self._write_thread, self._scrub)

    def _scrub(self) -> None:
        # `secure_delete` overwrites deleted rows, but not remains of a row on a page from which
        # it had moved earlier.
        with self._writer.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA temp_store=FILE")
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA temp_store=MEMORY")
            for _ in range(_CHECKPOINT_ATTEMPTS):
                (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    break
            else:
                reason = "other processes keep reading the file; stop them and try again"
                raise TimeoutError(errno.ETIMEDOUT, reason, str(self._path))
            cursor.close()

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self._naming_lock(), self._writer.begin() as connection:
            found = work(connection)
        self._expect_lock(is_locked=False)
        return found

    @contextlib.contextmanager
    def _naming_lock(self) -> Iterator[None]:
        """Raise `DatabaseLockedError` if SQLite reports the lock of another program."""
        try:
            yield
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                raise
            self._expect_lock(is_locked=True)
            raise DatabaseLockedError(self._path, find_lock(self._path)) from error

    def _expect_lock(self, *, is_locked: bool) -> None:
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            with self._writer.connect() as connection:
                timeout = _KNOWN_LOCK_TIMEOUT if is_locked else _BUSY_TIMEOUT
                connection.connection.cursor().execute(timeout).close()

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection:
            return work(connection)

    def _migrate(self) -> None:
        if kept := rename_foreign_wal(self._path):
            log_event(_log, logging.ERROR, "ledger.log_set_aside", kept_at=str(kept))
        with self._naming_lock():
            with self._writer.connect() as connection:
                driver = connection.connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows the type
                mark_as_opened(driver)
            with self._writer.connect() as connection:
                older = is_older(connection)
            if older:
                copy_aside(self._path)
            with self._writer.begin() as connection:
                migrate(connection)
            self._truncate_log()

    def _truncate_log(self) -> None:
        with self._writer.connect() as connection:
            # On the raw cursor: SQLAlchemy would begin a transaction, where no checkpoint is
            # possible.
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def find_lock(path: Path) -> str | None:
    """Return the other process that holds a write lock on the database at `path`.

    None if none is seen.
    """
    return lock_holder(path, path.with_name(f"{path.name}-shm"))


async def _run_to_completion(threads: Executor, work: Callable[[], T]) -> T:
    """Run `work` in one of the threads; even a cancelled task waits for its end."""
    running = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise


def _readable_text(raw: bytes) -> str:
    """Return a text of the file; bytes that are not UTF-8 become replacement characters."""
    return raw.decode("utf-8", "replace")


def _engine(path: Path, pragmas: tuple[str, ...], *, begin: str, connections: int) -> Engine:
    engine = create_engine(
        # Not formatted as text: a path may hold characters that are special in a URL.
        URL.create("sqlite", database=str(path)),
        # Turn off the driver's transaction handling: a write after a deferred BEGIN can fail at
        # once, without waiting for the busy timeout.
        connect_args={"isolation_level": None},
        pool_size=connections,
        max_overflow=0,
        # The values of a statement can hold an address.
        hide_parameters=True,
    )

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        if pragmas is _READ_PRAGMAS:
            # A damaged row must not stop the readers of all rows.
            connection.text_factory = _readable_text
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin_transaction)
    return engine
