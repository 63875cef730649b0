"""Exclusive lock on the storage directory: one process owns the store.

Two locks (flock), on the directory and on `agent.lock` in it. The one on the directory needs no
space on a full disk, and excludes versions that knew no other. But every process
that can open a file can lock it for ever, also one of another user if the directory was once open
to all. Then the file decides: it is created again in a directory that no other user can enter, and
locked.
"""

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from agent.store.files.file_identity import is_at
from sync.runtime.files.private_files import open_private, read_private, user_name
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
LOCK_FILE = "agent.lock"
_HOLDER_BYTES = 32
_NAMED = re.compile(r"process ([0-9]{1,10})\n?")
# Fields of a line in proc_locks(5).
_KIND, _PROCESS, _INODE = 1, 4, 5


class StoreInUse(Exception):  # noqa: N818 - names the condition that the operator sees
    """Another process holds the lock on this storage directory."""


class StorageLock:
    """The lock on `directory`, held from construction to `close`."""

    _file: int | None
    _whole: int

    def __init__(self, directory: Path) -> None:
        """Lock the directory, private by now. Raises `StoreInUse` without waiting."""
        self._directory = directory
        self._opened = contextlib.ExitStack()
        try:
            self._acquire()
        except BaseException:
            self._opened.close()
            raise

    def renew(self) -> None:
        """Lock the directory again if it was replaced, or its lock file removed.

        Raises `StoreInUse` if another agent has it by now, and `OSError`.
        """
        if not is_at(self._directory, self._whole):
            held, self._opened = self._opened, contextlib.ExitStack()
            try:
                self._acquire()
            except BaseException:
                self._opened.close()
                self._opened = held
                raise
            held.close()
        elif self._file is None or not is_at(self._directory / LOCK_FILE, self._file):
            self._file = _lock_file(self._directory, self._opened)
            self._name_holder()

    def close(self) -> None:
        """Release the lock."""
        self._opened.close()

    def _acquire(self) -> None:
        directory = self._directory
        file = _lock_file(directory, self._opened)
        whole = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._opened.callback(os.close, whole)
        if not _lock(whole):
            stranger = None if file is None else _strange_holder(whole)
            if stranger is None:
                raise _in_use(directory)
            log_event(_log, logging.ERROR, "storage.locked_by_stranger", user=stranger)
        self._file, self._whole = file, whole
        self._name_holder()

    def _name_holder(self) -> None:
        if self._file is not None:
            # On a full disk the lock holds, only the name of its holder is missing.
            with contextlib.suppress(OSError):
                name = f"process {os.getpid()}\n".encode()
                os.ftruncate(self._file, os.pwrite(self._file, name, 0))


@contextlib.contextmanager
def storage_lock(directory: Path) -> Iterator[StorageLock]:
    """Hold `directory` until the block or the process ends. Raises `StoreInUse` without waiting.

    The directory is private by now (`make_private_directory`).
    """
    with contextlib.closing(StorageLock(directory)) as lock:
        yield lock


def find_lock_holder(directory: Path) -> int | None:
    """Return the id of the process that holds the lock of `directory`; None if there is none.

    The lock file names the last holder; `/proc/locks` shows if it still holds the lock.
    """
    try:
        last = _NAMED.fullmatch((directory / LOCK_FILE).read_text("utf-8"))
        holders = set(_holders_of(directory.stat().st_ino))
    except (OSError, UnicodeDecodeError):
        return None
    return int(last[1]) if last is not None and last[1] in holders else None


def _lock_file(directory: Path, opened: contextlib.ExitStack) -> int | None:
    """Return the descriptor of the locked `agent.lock`; None if it cannot be made, on a full disk.

    Raises `StoreInUse`.
    """
    path = directory / LOCK_FILE
    for is_last in (False, True):
        try:
            file = open_private(path, os.O_RDWR | os.O_CREAT)
        except OSError:
            if is_last or not path.is_symlink():
                return None
            path.unlink(missing_ok=True)
            continue
        opened.callback(os.close, file)
        if _lock(file) and is_at(path, file):
            return file
        if is_last or _strange_holder(file) is None:
            raise _in_use(directory)
        if is_at(path, file):
            path.unlink(missing_ok=True)
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _strange_holder(descriptor: int) -> str | None:
    """Return the other user that holds the lock on this file; None if this user or root may."""
    stranger = None
    try:
        for process in _holders_of(os.fstat(descriptor).st_ino):
            uid = Path("/proc", process).stat().st_uid
            if uid in {0, os.geteuid()}:
                return None
            stranger = user_name(uid)
    except (OSError, UnicodeDecodeError):
        return None  # no such table, or a process that this one may not see
    return stranger


def _holders_of(inode: int) -> Iterator[str]:
    """Yield the processes with a flock on this file. Raises `OSError`, `UnicodeDecodeError`."""
    for fields in map(str.split, Path("/proc/locks").read_text("ascii").splitlines()):
        is_on_file = len(fields) > _INODE and fields[_INODE].rpartition(":")[2] == str(inode)
        if is_on_file and fields[_KIND] == "FLOCK":
            yield fields[_PROCESS]


def _in_use(directory: Path) -> StoreInUse:
    return StoreInUse(
        f"the storage directory {directory} is in use by {_holder(directory)}: "
        "stop that agent, or set another [storage] directory"
    )


def _holder(directory: Path) -> str:
    try:
        holder = read_private(directory / LOCK_FILE, _HOLDER_BYTES).decode("ascii", "replace")
    except OSError:
        return "another process"
    return holder.strip() or "another process"
