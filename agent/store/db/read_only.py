"""Short-lived read-only connections, one for each query.

A long-lived reader would block WAL checkpoints and keep reading a file that was quarantined. SQLite
deletes a WAL beside an empty database even when it opens read-only, so such a database is not
opened.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.recovery.quarantine import has_orphan_wal


class OrphanWal(sqlite3.DatabaseError):
    """A WAL without its database: it may hold captures and must be quarantined first."""


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of `directory` read-only for one query. Raises `sqlite3.Error`."""
    require_no_orphan_wal(directory / DATABASE_FILE)
    uri = f"{(directory / DATABASE_FILE).absolute().as_uri()}?mode=ro"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)
    ) as connection:
        # One snapshot for all statements of a query.
        connection.execute("BEGIN")
        yield connection


def require_no_orphan_wal(database: Path) -> None:
    """Raise `OrphanWal` if opening `database` would destroy a WAL."""
    if has_orphan_wal(database):
        raise OrphanWal(f"a WAL lies beside {database.name}, which is empty or gone")
