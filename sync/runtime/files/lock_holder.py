"""Names the process that holds a lock on a file, by the kernel's table of locks."""

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
# Fields of a line in proc_locks(5), after the number of the lock.
_MODE, _PROCESS, _FILE = 3, 4, 5
# In place of the process: an open file description holds the lock, and may belong to several.
_OF_OPEN_FILE = "-1"


def lock_holder(*files: Path) -> str | None:
    """Return the other process that holds a write lock on one of `files`: `process 41 (sqlite3)`.

    None if there is none, or if the table is hidden from this process. Takes no lock and opens
    none of the files: to close one would drop this process's own locks on it (fcntl(2)).
    """
    pid = next(_writers_of(files), None)
    return None if pid is None else _named(pid)


def _writers_of(files: tuple[Path, ...]) -> Iterator[str]:
    try:
        lines = (_PROC / "locks").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    wanted = {name for file in files if (name := _name_in_table(file))}
    for fields in map(str.split, lines):
        # A waiting process ("->") has one field more, and holds nothing.
        if (
            len(fields) > _FILE
            and fields[_MODE] == "WRITE"
            and fields[_PROCESS] != str(os.getpid())
        ):
            device, _, inode = fields[_FILE].rpartition(":")
            # A file system without a device of its own appears under another one: major 0.
            if (device, inode) in wanted or ("", inode) in wanted:
                yield fields[_PROCESS]


def _name_in_table(file: Path) -> tuple[str, str] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    major, minor = os.major(status.st_dev), os.minor(status.st_dev)
    return (f"{major:02x}:{minor:02x}" if major else "", str(status.st_ino))


def _named(pid: str) -> str:
    if pid == _OF_OPEN_FILE:
        return "a process that the kernel does not name"
    try:
        # Not its command line: arguments may hold secrets.
        command = (_PROC / pid / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        command = "not visible to this user"
    return f"process {pid} ({command})"
