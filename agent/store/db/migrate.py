"""Migrates a database file to the newest schema, forward only, after copying the old file."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

NEWEST_REVISION = "0002"
MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: sqlite3.Connection) -> str | None:
    """Return the schema revision of the file, or None for a file without tables."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'alembic_version'")
    if tables.fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate the database at `path`, open on `connection`, in one transaction.

    A file with a newer revision is left unchanged: migrations only add, so this version can use it.
    Raises `sqlite3.Error`; the database is then unchanged.
    """
    found = revision_of(connection)
    if found == NEWEST_REVISION or (found is not None and found > NEWEST_REVISION):
        return
    if found is not None:
        _copy_aside(connection, path.with_name(f"{path.name}.before-{NEWEST_REVISION}"))
    _upgrade(connection)


def _copy_aside(connection: sqlite3.Connection, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    except BaseException:
        # An incomplete copy is useless and takes up scarce space.
        copy.unlink(missing_ok=True)
        raise


def _upgrade(connection: sqlite3.Connection) -> None:
    # Alembic is needed only when a file is migrated: a usual start does not pay for the import.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # The driver's transaction handling is off, so this listener begins the transaction.
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with engine.begin() as migrating:
            config.attributes["connection"] = migrating
            command.upgrade(config, "head")
    except DBAPIError as error:
        # The caller classifies the driver's own error: disk full or database damaged.
        raise error.orig or error from error
