"""What can be wrong with the storage, told apart by what helps against it."""

import errno
import os
import sqlite3
from pathlib import Path

# Below this much free space an error of the disk is taken for a full disk: SQLite reports
# a file it had no room to create as one that it cannot open.
_NEARLY_NOTHING_BYTES = 256 * 1024
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF


class StorageTrouble(Exception):  # noqa: N818 - names the state, not the raising
    """The storage cannot take captures now; the message says why and what to do."""


class StorageFull(StorageTrouble):
    """There is no room: the disk, the configured limit, or the reserve is reached."""


class StorageDown(StorageTrouble):
    """The storage does not work: an I/O error, a missing right, a missing directory."""


class StorageDamaged(StorageTrouble):
    """The database file is not readable as one: it is set aside, and a fresh one begun."""


class SenselessRow(sqlite3.DatabaseError):
    """SQLite read from a damaged page, without noticing, what was never written."""


def trouble_of(error: sqlite3.Error | OSError, directory: Path) -> StorageTrouble:
    """Name the trouble behind an error that SQLite or the system reported on `directory`."""
    if isinstance(error, OSError):
        return _trouble_of_system(error, directory)
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    if code in _DAMAGE or isinstance(error, SenselessRow):
        return StorageDamaged(f"the database in {directory} is damaged ({error})")
    if code == sqlite3.SQLITE_FULL or is_nearly_full(directory):
        return _full(directory)
    return StorageDown(
        f"the database in {directory} does not work ({error}): check disk and rights"
    )


def is_nearly_full(directory: Path) -> bool:
    """Tell whether next to nothing can be written to the disk of `directory`."""
    try:
        return free_bytes(directory) < _NEARLY_NOTHING_BYTES
    except OSError:
        return False


def free_bytes(directory: Path) -> int:
    """Return how many bytes this process may still write to the disk of `directory`."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def _trouble_of_system(error: OSError, directory: Path) -> StorageTrouble:
    # Not all that is needed lies in the directory: the key can be elsewhere.
    named = error.filename if isinstance(error.filename, str) else None
    if error.errno in _FULL_ERRNOS:
        return _full(Path(named).parent if named else directory)
    return StorageDown(f"{named or directory} cannot be used ({error.strerror})")


def _full(directory: Path) -> StorageFull:
    return StorageFull(f"the disk of {directory} is full: free some space on it")
