"""Storage errors, classified by their remedy."""

import errno
import os
import sqlite3
from pathlib import Path

from sync.runtime.files.lock_holder import lock_holder

# As in `db/connect.py`, and its shared memory, on which the locks are.
_DATABASE_FILES = ("agent.db", "agent.db-shm")
# With less free space than this, any disk error counts as a full disk: SQLite reports a file that
# it has no room to create as one that it cannot open.
_NEARLY_NOTHING_BYTES = 256 * 1024
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF
# Errors of the data or of this program, not of the disk.
DATA_ERRORS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
# The driver found a text that is no UTF-8. Its message quotes the text: it may be a customer's.
_UNDECODABLE = "Could not decode to UTF-8"


class StorageError(Exception):
    """The storage cannot take captures now. The message says why, and the remedy."""


class StorageFullError(StorageError):
    """No room left: the disk, the configured limit or the reserve is reached."""


class StorageDownError(StorageError):
    """The storage does not work: an I/O error, missing permissions or a missing directory."""


class StorageLockedError(StorageDownError):
    """Another program holds a lock on the database; nothing was written, and it can stay open."""


class TooManyOpenFilesError(StorageError):
    """The process or the machine has no free file descriptor; the storage itself is fine."""


class StorageMovedError(StorageError):
    """The database was removed, replaced or moved while it was open; the connection holds it."""


class StorageDamagedError(StorageError):
    """The database file is corrupt: it is quarantined and replaced by a new one."""


class DatabaseMoved(sqlite3.OperationalError):
    """The database at the path is not the one that this process has open."""


class DamagedRowError(StorageError):
    """A row of which much depends is damaged: opening the store again repairs it.

    The file itself can be read and goes on.
    """


class CorruptRow(sqlite3.DatabaseError):
    """A row that SQLite read from a damaged page without an error, with impossible values."""


def storage_error_from(error: sqlite3.Error | OSError, directory: Path) -> StorageError:
    """Return the storage error for a SQLite or system `error` that occurred on `directory`."""
    if isinstance(error, OSError):
        return _storage_error_from_os_error(error, directory)
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    if found := _found_in_content(error, code, directory):
        return found
    if code in _LOCKED:
        return _locked(directory)
    if code == sqlite3.SQLITE_CANTOPEN and _is_out_of_descriptors():
        return _too_many_open_files()
    if code == sqlite3.SQLITE_FULL or is_nearly_full(directory):
        return _full(directory)
    return StorageDownError(
        f"the database in {directory} cannot be used ({error}): check the disk and the permissions"
    )


def _found_in_content(error: sqlite3.Error, code: int, directory: Path) -> StorageError | None:
    """Return the storage error if the content of the file is at fault, or it is another file."""
    if is_undecodable(error):
        error = CorruptRow("unexpected bytes in a text")
    if isinstance(error, CorruptRow):
        return DamagedRowError(f"a row of the database in {directory} is damaged ({error})")
    if code in _DAMAGE:
        return StorageDamagedError(f"the database in {directory} is damaged ({error})")
    if isinstance(error, DatabaseMoved):
        return StorageMovedError(f"the database in {directory} is not the one in use: {error}")
    return None


def is_undecodable(error: sqlite3.Error) -> bool:
    """Return whether the driver found a text that is not UTF-8: the row at fault is not named."""
    return str(error).startswith(_UNDECODABLE)


def is_nearly_full(directory: Path) -> bool:
    """Return whether the disk of `directory` has next to no free space."""
    try:
        return free_bytes(directory) < _NEARLY_NOTHING_BYTES
    except OSError:
        return False


def free_bytes(directory: Path) -> int:
    """Return how many bytes this process may still write to the disk of `directory`."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def _is_out_of_descriptors() -> bool:
    """Return whether no file can be opened. SQLite does not say why it cannot open its own."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in NO_DESCRIPTOR
    return False


def _locked(directory: Path) -> StorageLockedError:
    holder, advice = find_database_lock(directory), "end it, or let it finish"
    if holder is None:  # a hardened service does not see other processes
        holder, advice = "another program", "`loyalty-agent doctor`, run as root, names it"
    return StorageLockedError(f"the database in {directory} is locked by {holder}: {advice}")


def find_database_lock(directory: Path) -> str | None:
    """Return the other process that holds a write lock on the database; None if none is seen."""
    return lock_holder(*(directory / name for name in _DATABASE_FILES))


def _too_many_open_files() -> TooManyOpenFilesError:
    return TooManyOpenFilesError(
        "the agent has too many open files and connections: find out who holds connections to"
        " its port; LimitNOFILE= of its unit sets the limit"
    )


def _storage_error_from_os_error(error: OSError, directory: Path) -> StorageError:
    if error.errno in NO_DESCRIPTOR:
        return _too_many_open_files()
    # The failing file may lie outside the directory: the key file, for example.
    named = error.filename if isinstance(error.filename, str) else None
    if error.errno in _FULL_ERRNOS:
        return _full(Path(named).parent if named else directory)
    return StorageDownError(f"{named or directory} cannot be used ({error.strerror})")


def _full(directory: Path) -> StorageFullError:
    needed = f"at least {_NEARLY_NOTHING_BYTES // 1024} KiB must be"
    try:
        free = f"{free_bytes(directory) // 1024:,} KiB are free, {needed}"
    except OSError:
        free = needed + " free"
    return StorageFullError(f"the disk of {directory} is full ({free}): free some space")
