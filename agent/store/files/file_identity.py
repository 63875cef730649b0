"""Notices that the files under an open connection are no longer those at their paths.

SQLite goes on writing to the file that it has open when that is removed, renamed or replaced: every
commit succeeds, and none is found again after a restart. *Obvious:* a file system watch. *Why not:*
it reports after the answer. *Instead:* device and inode of database and WAL are compared after each
commit, before its answer (two calls of stat); the index of the WAL only now and then.

A copy over the open file keeps the inode. But in WAL mode only a checkpoint writes to the database
file, and only the writer runs one: another size or time of modification comes from another process.

Readers of this process must not open another file of that name, either: SQLite's locks belong to
the process, so it would take itself for the first user of the `-shm` file, truncate it under the
writer's memory map and kill the process (SIGBUS).
"""

import os
from pathlib import Path

from agent.store.files.storage_errors import DatabaseMoved

_stat = os.stat  # with a string half the time of Path.stat()
_Identity = tuple[int, int]
_Content = tuple[int, int]


class OpenFiles:
    """The files of one open database, in WAL mode. Writer's thread only."""

    def __init__(self, database: Path) -> None:
        """Record the files at `database`, just opened and read. Raises `OSError`."""
        self._database = str(database.absolute())
        self._wal, self._shm = f"{self._database}-wal", f"{self._database}-shm"
        status = _stat(self._database)
        self._identity = _identity(status)
        self._content = _content(status)
        self._beside = (_identity(_stat(self._wal)), _identity(_stat(self._shm)))
        _open[self._database] = self._identity

    def close(self) -> None:
        """Forget the files: their connection is closed. Idempotent."""
        if _open.get(self._database) == self._identity:
            del _open[self._database]

    def are_in_place(self, *, with_index: bool = True) -> bool:
        """Return whether the files are at their paths, with no content but this connection's."""
        try:
            status = _stat(self._database)
            return (
                (status.st_dev, status.st_ino) == self._identity
                and (status.st_size, status.st_mtime_ns) == self._content
                and _identity(_stat(self._wal)) == self._beside[0]
                and not (with_index and _identity(_stat(self._shm)) != self._beside[1])
            )
        except OSError:
            return False

    def is_altered(self) -> bool:
        """Return whether another process has written to the database at its path."""
        try:
            status = _stat(self._database)
        except OSError:
            return False
        return _identity(status) == self._identity and _content(status) != self._content

    def has_at(self, path: Path) -> bool:
        """Return whether the file at `path` is one of these."""
        try:
            return _identity(_stat(path)) in (self._identity, *self._beside)
        except OSError:
            return False

    def note_checkpoint(self) -> None:
        """Record the content of the database after a checkpoint of this connection."""
        try:
            status = _stat(self._database)
        except OSError:
            return
        if _identity(status) == self._identity:
            self._content = _content(status)


_open: dict[str, _Identity] = {}
_owned: set[str] = set()


def own(database: Path) -> None:
    """Note that this process, and no other, writes to `database`, open or not."""
    _owned.add(str(database.absolute()))


def is_owned_and_closed(database: Path) -> bool:
    """Return whether this process owns `database` and does not have it open for writing."""
    path = str(database.absolute())
    return path in _owned and path not in _open


def is_at(path: Path, descriptor: int) -> bool:
    """Return whether `descriptor` is still the file or directory at `path`."""
    try:
        return _identity(path.lstat()) == _identity(os.fstat(descriptor))
    except OSError:
        return False


def require_not_moved(database: Path) -> None:
    """Raise `DatabaseMoved` if this process has another file of that name open."""
    expected = _open.get(str(database.absolute()))
    if expected is None:
        return
    try:
        found = _identity(_stat(database))
    except OSError as error:
        raise DatabaseMoved(f"{database.name} is not at its path ({error.strerror})") from error
    if found != expected:
        raise DatabaseMoved(f"{database.name} was replaced while it was in use")


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _content(status: os.stat_result) -> _Content:
    return status.st_size, status.st_mtime_ns
