"""Schema of the database file: its revision, and migration to the newest one."""

import logging
import re
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from agent.store.db.transaction import transaction, writing_engine
from agent.store.files.storage_errors import is_undecodable
from sync.runtime.logging import log_event
from sync.runtime.schema_migration import copy_before_migration, upgrade

_log = logging.getLogger(__name__)
NEWEST_REVISION = "0011"
MIGRATIONS = Path(__file__).parent / "migrations"
# A table or index, and a column of it, that each revision added, the newest first: used if the
# recorded revision is unreadable.
ADDED = (
    ("0011", "dead_letter", "stuck_since_us"),
    ("0010", "dead_letter_open", "position"),
    ("0009", "returned_numbers", "epoch"),
    ("0008", "salvaged_number", "epoch"),
    ("0007", "program_terms", "agent_version"),
    ("0006", "epoch", "moved_events"),
    ("0005", "salvage", "source"),
    ("0004", "event", "checksum"),
    ("0003", "destination", "scrubs"),
    ("0002", "destination", "attempting_from"),
    ("0001", "event", "position"),
)
_REVISION = re.compile(r"\d{4}")
HAS_COLUMN = """
SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2
UNION ALL SELECT 1 FROM pragma_index_info(?1) WHERE name = ?2
"""
_RECORD = (
    "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
    "DELETE FROM alembic_version",
)


def revision_of(connection: sqlite3.Connection) -> str | None:
    """Return the schema revision of the file, or None for a file without tables.

    A recorded revision that is gone, unreadable or older than the tables is not believed.
    """
    recorded, found = _recorded(connection), _revision_of_tables(connection)
    if recorded is None or found is None:
        return found
    return max(recorded, found)


def _recorded(connection: sqlite3.Connection) -> str | None:
    """Return the recorded revision; None if there is none, or not exactly one."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'alembic_version'")
    if tables.fetchone() is None:
        return None
    try:
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError as error:
        if is_undecodable(error):
            return None
        raise
    text = rows[0][0] if len(rows) == 1 else None
    return text if isinstance(text, str) and _REVISION.fullmatch(text) else None


def _revision_of_tables(connection: sqlite3.Connection) -> str | None:
    for revision, table, column in ADDED:
        if connection.execute(HAS_COLUMN, (table, column)).fetchone() is not None:
            return revision
    return None


def _record(connection: sqlite3.Connection, revision: str) -> None:
    """Record `revision`, in place of one that cannot be believed."""
    log_event(_log, logging.ERROR, "store.schema_revision_restored", revision=revision)
    with transaction(connection):
        for statement in _RECORD:
            connection.execute(statement)
        connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (revision,))


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate the database at `path`, open on `connection`, unless its schema is newer.

    Raises `sqlite3.Error`; the database is then unchanged.
    """
    found = revision_of(connection)
    if found is not None and found != _recorded(connection):
        _record(connection, found)
    if found is not None and found >= NEWEST_REVISION:
        return
    if found is not None:
        copy_before_migration(connection, path, NEWEST_REVISION)
    try:
        with writing_engine(connection).begin() as migrating:
            upgrade(migrating, MIGRATIONS)
    except DBAPIError as error:
        # The caller classifies the driver's own error: disk full or database damaged.
        raise error.orig or error from error
