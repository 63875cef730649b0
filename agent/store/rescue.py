"""Saves a database that was removed, replaced or moved while it was open.

The open connection still reads all of it. It is copied whole into a file of its own, synced, and
only a complete copy gets the name under which it is used; the next start repairs a crash between.
SQLite's backup API copies page by page: a leftover WAL of the old file fits the copy as well.
"""

import contextlib
import sqlite3
from pathlib import Path

from agent.facts import Receipt
from agent.store.db.connect import reusable_bytes, used_bytes
from agent.store.db.epochs import read_epochs
from agent.store.db.wal import wal_of
from agent.store.files.file_identity import OpenFiles
from agent.store.files.quarantine import COMPANIONS, quarantine
from agent.store.files.storage_errors import StorageDamagedError, StorageFullError, free_bytes
from sync.runtime.files.atomic_file import sync_directory, sync_file
from sync.runtime.files.private_files import create_private

_SAVING, _SAVED = ".saving", ".saved"
_COPIED_OVER = "another file was copied over the open database"
# The new file's WAL and its index, and a few commits.
_RESERVE_BYTES = 256 * 1024


def save_whole(
    connection: sqlite3.Connection, database: Path, must_hold: Receipt | None = None
) -> None:
    """Copy all that `connection` reads to a file beside `database`, complete and synced on return.

    With `must_hold` the copy is examined: the file under the connection was altered, and only what
    SQLite had in memory and in the WAL is certain. Raises `StorageDamagedError` if the copy lacks
    that receipt or is damaged, `StorageFullError` before it writes anything if there is no room,
    `sqlite3.Error`, and `OSError`.
    """
    _require_room(connection, database.parent)
    scratch = _beside(database, _SAVING)
    scratch.unlink(missing_ok=True)
    create_private(scratch)
    try:
        with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as copy:
            # Nothing of an incomplete copy is needed; it is synced as a whole.
            copy.execute("PRAGMA journal_mode=OFF").fetchall()
            copy.execute("PRAGMA synchronous=OFF")
            connection.backup(copy)
        if must_hold is not None:
            _require_sound(f"{scratch.absolute().as_uri()}?mode=ro&immutable=1", must_hold)
        sync_file(scratch)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    scratch.rename(_beside(database, _SAVED))
    sync_directory(database.parent)


def put_in_place(database: Path, at_us: int, ours: OpenFiles | None = None) -> Path | None:
    """Make the saved copy the database; return where a foreign file at its path was set aside.

    `ours` are the files of the saved connection: their remains at the path are in the copy, and
    are removed. Idempotent; without a saved copy nothing is done.
    """
    saved, place = _beside(database, _SAVED), None
    _beside(database, _SAVING).unlink(missing_ok=True)
    if not saved.exists():
        return None
    wal, shm = wal_of(database), database.with_name(f"{database.name}-shm")
    if ours is not None:
        for file in (wal, shm):
            if ours.has_at(file):
                file.unlink()
    is_ours = ours is not None and ours.has_at(database) and not ours.is_altered()
    beside = [database.with_name(database.name + companion) for companion in COMPANIONS]
    if any(file.exists() for file in beside) or (database.exists() and not is_ours):
        place = quarantine(database, at_us, with_mark=False)
    shm.unlink(missing_ok=True)
    saved.rename(database)
    sync_directory(database.parent)
    return place


def is_sound_in_place(database: Path, must_hold: Receipt) -> bool:
    """Return whether the altered `database` and its WAL are sound and hold that receipt.

    A backup tool that sets the time of modification alters nothing else.
    """
    try:
        _require_sound(f"{database.absolute().as_uri()}?mode=ro", must_hold)
    except StorageDamagedError:
        return False
    return True


def _require_room(connection: sqlite3.Connection, directory: Path) -> None:
    size_bytes = used_bytes(connection) + reusable_bytes(connection)
    needed, free = size_bytes + _RESERVE_BYTES, free_bytes(directory)
    if free < needed:
        raise StorageFullError(
            f"the database in {directory} was removed or replaced while in use, and there is no "
            f"room to save it: {needed} bytes needed, {free} free. The agent still holds it: free "
            "some space, and do not stop the agent"
        )


def _require_sound(uri: str, must_hold: Receipt) -> None:
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
            known = read_epochs(connection).range_of(must_hold.epoch)
        except sqlite3.Error as error:
            raise StorageDamagedError(f"{_COPIED_OVER}: {error}") from error
    if found != "ok" or known is None or known.last_sequence < must_hold.sequence:
        raise StorageDamagedError(_COPIED_OVER)


def _beside(database: Path, suffix: str) -> Path:
    return database.with_name(database.name + suffix)
