"""Connections for questions: read-only, and closed again after each.

A reader that stayed would hold the WAL back, and would go on reading a file that was set
aside.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agent.store.database import DATABASE_FILE


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of `directory` for one question. Raises `sqlite3.Error`."""
    uri = f"{(directory / DATABASE_FILE).absolute().as_uri()}?mode=ro"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)
    ) as connection:
        # One snapshot for all statements of a question.
        connection.execute("BEGIN")
        yield connection
