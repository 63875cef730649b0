"""Queries SQLite files beside the program that owns them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path


def rows_in(file: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Run a query on a read-only connection of its own."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, values).fetchall()


def describe_schema(file: Path) -> dict[str, object]:
    """Return the columns, indexes and strictness of every table."""
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
    """Yield the name, uniqueness, origin and columns of every index of `table`."""
    for _, name, unique, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
        columns = [row[2] for row in connection.execute(f"PRAGMA index_info({name})")]
        shown = "" if name.startswith("sqlite_autoindex") else name
        yield shown, unique, origin, tuple(columns)
