"""What the schema of a SQLite file is, described so that two of them can be compared."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path


def described(file: Path) -> dict[str, object]:
    """Say of every table what its columns and indexes are, and whether it is strict."""
    with closing(sqlite3.connect(file)) as connection:
        strict = {row[1]: row[5] for row in connection.execute("PRAGMA table_list")}
        names = [
            name
            for name, strictly in strict.items()
            if not name.startswith(("sqlite_", "alembic_")) and strictly is not None
        ]
        return {
            name: (
                strict[name],
                connection.execute(f"PRAGMA table_info({name})").fetchall(),
                sorted(_indexes_of(connection, name)),
            )
            for name in names
        }


def _indexes_of(connection: sqlite3.Connection, table: str) -> Iterator[tuple[object, ...]]:
    """Say of every index what it is for, and over which columns it goes."""
    for _, name, unique, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
        columns = [row[2] for row in connection.execute(f"PRAGMA index_info({name})")]
        shown = "" if name.startswith("sqlite_autoindex") else name
        yield shown, unique, origin, tuple(columns)
