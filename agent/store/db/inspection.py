"""Reads a whole database within a time limit, without leaving files beside it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE, StoreConnection
from agent.store.db.wal import require_no_orphan_wal, wal_of
from agent.store.files.lock import find_lock_holder
from agent.store.files.quarantine import has_content

# SQLite calls the progress handler every so many VM steps: about ten thousand times a second.
_STEPS = 10_000


@contextmanager
def inspect_database(directory: Path, *, within_seconds: float) -> Iterator[sqlite3.Connection]:
    """Open the database of `directory` read-only; interrupt a query that exceeds the time limit.

    Raises as `read_only` does, with `SQLITE_INTERRUPT` when the time is over. A WAL-mode database
    with an empty WAL and no owner process is opened as immutable; otherwise SQLite would create
    files beside it.
    """
    path = (directory / DATABASE_FILE).absolute()
    require_no_orphan_wal(path)
    is_still = find_lock_holder(directory) is None and not has_content(wal_of(path))
    uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"
    ends_at = time.monotonic() + within_seconds
    connecting = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=2.0, factory=StoreConnection
    )
    with closing(connecting) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS)
        yield connection


def is_interrupted(error: sqlite3.Error) -> bool:
    """Return whether `error` means that the time limit was exceeded."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
