"""Opens the database that the settings name."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial

from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.sqlite_write_lock import COMMAND_SECONDS, SERVING_SECONDS
from sync.runtime.settings.files_in_use import LoadedFiles
from sync.runtime.settings.secret_files import read_secret


@asynccontextmanager
async def open_database(
    settings: ReceiverSettings, *, is_command: bool = False
) -> AsyncIterator[Database]:
    """Open the configured database, migrate its schema, and close it at the end.

    A command may read large parts, without a statement timeout, and waits longer for a lock.
    """
    database = unopened_database(settings, is_command=is_command)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def open_existing_database(settings: ReceiverSettings) -> AsyncIterator[Database]:
    """Open the database for a command; never create a SQLite file.

    An empty database would look like a result. Raises `FileNotFoundError`.
    """
    path = settings.database_path
    if not settings.is_on_postgresql and not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    async with open_database(settings, is_command=True) as database:
        yield database


def unopened_database(settings: ReceiverSettings, *, is_command: bool = False) -> Database:
    """Return the configured database, not opened: its schema is as it is."""
    if not settings.is_on_postgresql:
        return SqliteFile(
            settings.database_path,
            owns_directory=not settings.database.url,
            lock_seconds=COMMAND_SECONDS if is_command else SERVING_SECONDS,
        )
    # Imported lazily: the driver is only needed for PostgreSQL.
    from sync.receiver.db.postgresql import STATEMENT_SECONDS, Postgresql  # noqa: PLC0415 - see above

    return Postgresql(
        settings.database.url,
        password_of(settings),
        statement_seconds=None if is_command else STATEMENT_SECONDS,
    )


def password_of(settings: ReceiverSettings) -> Callable[[], str] | None:
    """Return what reads the password at each connection, since its file may change; or None."""
    file = settings.database.password_file
    if file is None:
        return None
    read = partial(read_secret, file, "database.password_file")
    # Loaded at the first connection: a command that needs none reads no password.
    loaded = cache(lambda: LoadedFiles((file,), read))
    return lambda: loaded().value()
