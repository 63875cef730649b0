"""Schema of the database file: its revision, and migration to the newest one."""

import sqlite3
from pathlib import Path

from sqlalchemy import StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from sync.runtime.schema_migration import copy_before_migration, upgrade

NEWEST_REVISION = "0007"
MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: sqlite3.Connection) -> str | None:
    """Return the schema revision of the file, or None for a file without tables."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'alembic_version'")
    if tables.fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate the database at `path`, open on `connection`, unless its schema is newer.

    Raises `sqlite3.Error`; the database is then unchanged.
    """
    found = revision_of(connection)
    if found is not None and found >= NEWEST_REVISION:
        return
    if found is not None:
        copy_before_migration(connection, path, NEWEST_REVISION)
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # The driver's transaction handling is off, so this listener begins the transaction.
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as migrating:
            upgrade(migrating, MIGRATIONS)
    except DBAPIError as error:
        # The caller classifies the driver's own error: disk full or database damaged.
        raise error.orig or error from error
