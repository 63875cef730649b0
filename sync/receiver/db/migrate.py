"""Schema of the ledger: its revision, and migration to the newest one."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sync.runtime.schema_migration import copy_before_migration, upgrade
from sync.runtime.settings.setting_errors import SettingError

NEWEST_REVISION = "0023"
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
    """Copy the SQLite file, for a return to the version before. Raises `OSError`."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
            copy_before_migration(source, path, NEWEST_REVISION)
    except sqlite3.Error as error:
        reason = f"the database cannot be copied before its schema changes ({error})"
        raise OSError(errno.EIO, reason, str(path)) from error


def migrate(connection: Connection) -> None:
    """Migrate the database in the current transaction, unless its schema is newer."""
    found = revision_of(connection)
    if found is None or found < NEWEST_REVISION:
        upgrade(connection, MIGRATIONS)


def encoding_errors(connection: Connection) -> list[SettingError]:
    """Return an error unless the database is in UTF-8: other encodings reject some texts."""
    encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar_one()
    if encoding == "UTF8":
        return []
    message = (
        f"the database has the encoding {encoding}, which cannot hold every name and text of a till"
        " (create it with ENCODING 'UTF8' TEMPLATE template0, and restore into it)"
    )
    return [SettingError("", "database.url", message)]
