"""Migrate the ledger's schema, forward only; back up a SQLite file first."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

NEWEST_REVISION = "0004"
MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: Connection) -> str | None:
    """Return the schema revision of the database; None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def is_older(connection: Connection) -> bool:
    """Return whether the database has a schema older than `NEWEST_REVISION`."""
    found = revision_of(connection)
    return found is not None and found < NEWEST_REVISION


def copy_aside(path: Path) -> None:
    """Copy a SQLite file, including its WAL, into the same folder.

    Raises `OSError` and then leaves no copy.
    """
    copy = path.with_name(f"{path.name}.before-{NEWEST_REVISION}")
    copy.unlink(missing_ok=True)
    try:
        with closing(_read_only(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        # A partial copy is useless and occupies scarce disk space.
        copy.unlink(missing_ok=True)
        reason = f"the database cannot be copied before its schema changes ({error})"
        raise OSError(errno.EIO, reason, str(copy)) from error


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def bring_up_to_date(connection: Connection) -> None:
    """Migrate the database in the current transaction; leave a newer schema unchanged."""
    found = revision_of(connection)
    if found is not None and found >= NEWEST_REVISION:
        return
    # Imported lazily: a usual start migrates nothing and need not pay for it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
