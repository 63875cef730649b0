"""Connections to the database file, for writing and reading, and the sizes of the file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event

from agent.facts import Receipt
from agent.store.db.migrate import migrate
from agent.store.db.rows import text_or_bytes
from agent.store.db.wal import (
    copy_suspect_wal,
    require_no_orphan_wal,
    set_foreign_wal_aside,
    sync_leftover_wal,
    wal_of,
)
from agent.store.files.file_identity import is_owned_and_closed, require_not_moved
from agent.store.files.storage_errors import is_nearly_full
from sync.runtime.files.private_files import create_private
from sync.runtime.files.sqlite_backup import mark_as_opened

DATABASE_FILE = "agent.db"
_READ_TIMEOUT_SECONDS = 2.0
# For a lock of another program. A till gets its answer within 2 s, and may have to wait for the
# group before its own; once it is known that the database is locked, next to nothing is waited.
_LOCK_SECONDS, _KNOWN_LOCK_SECONDS = 1.0, 0.05
_HEADER_BYTES = 100
_PAGE_SIZE_AND_FREE_PAGES = (slice(16, 18), slice(36, 40))
# synchronous=FULL: COMMIT returns after the sync (NORMAL loses commits in a power cut).
# wal_autocheckpoint=0: a checkpoint inside a commit would delay answers; the writer runs it.
# secure_delete: an erased address is overwritten with zeros.
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA cache_size=-8192",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
)


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":  # noqa: ANN401 - as the driver's
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise _damaged() from error


class StoreConnection(sqlite3.Connection):
    """Raises SQLite's error also where its message quotes damaged text that is not UTF-8.

    The driver cannot decode such a message, as of a damaged schema, and raises a
    `UnicodeDecodeError` in its place.
    """

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:  # noqa: ANN401 - as the driver's
        """Run a statement; return its cursor."""
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise _damaged() from error

    def cursor(self, factory: Any = _Cursor) -> Any:  # noqa: ANN401 - as the driver's
        """Return a cursor that raises the same."""
        return super().cursor(factory)


def _damaged() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("its schema has unexpected bytes")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def connect_for_writing(
    path: Path, last_commit: Receipt | None, now_us: Callable[[], int]
) -> sqlite3.Connection:
    """Open the only writing connection, on a file of the newest schema.

    Raises `sqlite3.Error`, or `OSError` if the file is not ours or a suspect WAL cannot be copied.
    """
    # The WAL and its index get the mode of the database.
    create_private(path)
    set_foreign_wal_aside(path, now_us)
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        cached_statements=64,
        timeout=_LOCK_SECONDS,
        factory=StoreConnection,
    )
    # A text that is not UTF-8 is that row's trouble: it fails where the row is checked.
    connection.text_factory = text_or_bytes
    try:
        copy_suspect_wal(connection, path, last_commit, now_us)
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        sync_leftover_wal(connection, path)
        mark_as_opened(connection)
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def limit_wal(connection: sqlite3.Connection, size_bytes: int) -> None:
    """Make SQLite truncate a WAL that grew once to twice `size_bytes`, its usual size."""
    connection.execute(f"PRAGMA journal_size_limit={2 * size_bytes}").fetchall()


def expect_lock(connection: sqlite3.Connection, *, is_locked: bool) -> None:
    """Wait less for a lock of another program while one is known to be held."""
    seconds = _KNOWN_LOCK_SECONDS if is_locked else _LOCK_SECONDS
    connection.execute(f"PRAGMA busy_timeout={seconds * 1000:.0f}").fetchall()


@contextmanager
def read_only(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of `directory` read-only for one query. Raises `sqlite3.Error`.

    Connections are short-lived: a lasting one would block checkpoints, and keep reading a file
    that was quarantined.
    """
    with closing(_connect_for_reading(directory)) as connection:
        # One snapshot for all statements of a query.
        connection.execute("BEGIN")
        yield connection


def reading_engine(directory: Path) -> Engine:
    """Return an engine for read-only sessions, each on a connection of its own."""

    def connect() -> sqlite3.Connection:
        connection = _connect_for_reading(directory)
        connection.text_factory = text_or_bytes
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN"))
    return engine


def database_bytes(directory: Path) -> int:
    """Return the size of the database of `directory` and its WAL on disk."""
    path = directory / DATABASE_FILE
    return sum(file.stat().st_size for file in (path, wal_of(path)) if file.exists())


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the database without its free pages, which new rows reuse."""
    pages, page_bytes = _pragma(connection, "page_count"), _pragma(connection, "page_size")
    return pages * page_bytes - reusable_bytes(connection)


def reusable_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the free pages in the database file."""
    return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


def reusable_bytes_in(database: Path) -> int:
    """Return the size of the free pages by the header of the file, as of the last checkpoint.

    For other processes than the agent: it takes no lock. Raises `OSError`.
    """
    if not database.exists():
        return 0
    with database.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    # https://www.sqlite.org/fileformat2.html#the_database_header; a page size of 1 means 65,536.
    page_bytes, free_pages = (int.from_bytes(header[at]) for at in _PAGE_SIZE_AND_FREE_PAGES)
    return free_pages * (65_536 if page_bytes == 1 else page_bytes)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _connect_for_reading(directory: Path) -> sqlite3.Connection:
    path = (directory / DATABASE_FILE).absolute()
    require_not_moved(path)
    require_no_orphan_wal(path)
    if is_owned_and_closed(path) and is_nearly_full(directory):
        return _connect_without_index(path)
    return sqlite3.connect(
        f"{path.as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=_READ_TIMEOUT_SECONDS,
        factory=StoreConnection,
    )


def _connect_without_index(path: Path) -> sqlite3.Connection:
    """Open a database that cannot be opened for writing, on a disk without room for a `-shm` file.

    In exclusive mode the index of the WAL is in memory, so that delivery goes on.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=_READ_TIMEOUT_SECONDS, factory=StoreConnection
    )
    connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
    connection.execute("PRAGMA query_only=ON")
    return connection
