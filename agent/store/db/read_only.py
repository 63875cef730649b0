"""Connections for questions: read-only, and closed again after each.

A reader that stayed would hold the WAL back, and would go on reading a file that was set
aside. SQLite deletes a WAL that it finds beside an empty database even for a reader: there
none is opened.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.recovery.quarantine import has_strays


class StrayWal(sqlite3.DatabaseError):
    """A WAL lies there without its database; it may hold captures and must be set aside first."""


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of `directory` for one question. Raises `sqlite3.Error`."""
    require_no_strays(directory / DATABASE_FILE)
    uri = f"{(directory / DATABASE_FILE).absolute().as_uri()}?mode=ro"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)
    ) as connection:
        # One snapshot for all statements of a question.
        connection.execute("BEGIN")
        yield connection


def require_no_strays(database: Path) -> None:
    """Raise `StrayWal` where opening `database` would put an end to a WAL."""
    if has_strays(database):
        raise StrayWal(f"a WAL lies beside {database.name}, which is empty or gone")
