"""Reads the database for a check, beside a running agent or without one."""

import os.path
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from agent.store.db.connect import DATABASE_FILE
from agent.store.db.inspection import inspect_database

_READ_SECONDS = 5.0
T = TypeVar("T")


def read_store(directory: Path, query: Callable[[sqlite3.Connection], T]) -> T | None:
    """Return the result of `query`; None if it cannot be read: the integrity check says why."""
    # Path.exists would raise for a user who may not enter the directory.
    if not os.path.exists(directory / DATABASE_FILE):  # noqa: PTH110 - never raises
        return None
    try:
        with inspect_database(directory, within_seconds=_READ_SECONDS) as connection:
            return query(connection)
    except (sqlite3.Error, OSError):
        return None


def read_rows(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return all rows of a query; none if it cannot be read."""
    return read_store(directory, lambda connection: connection.execute(sql).fetchall()) or []
