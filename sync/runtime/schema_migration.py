"""Schema migration by Alembic: forward only, in one transaction, with a copy of a SQLite file.

A database with a newer schema is left unchanged: migrations only add, so that an older version
of the program can use it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection

from sync.runtime.files.private_files import create_private


def copy_before_migration(source: sqlite3.Connection, path: Path, revision: str) -> None:
    """Copy the database at `path`, open on `source`, to `PATH.before-REVISION`, its WAL included.

    Raises `sqlite3.Error` and then leaves no copy.
    """
    copy = path.with_name(f"{path.name}.before-{revision}")
    copy.unlink(missing_ok=True)
    try:
        create_private(copy)
        with closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except BaseException:
        # A partial copy is useless and occupies scarce disk space.
        copy.unlink(missing_ok=True)
        raise


def upgrade(connection: Connection, migrations: Path) -> None:
    """Run the missing migrations in the current transaction of `connection`."""
    # Imported here because a usual start migrates nothing and need not pay for the import.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
