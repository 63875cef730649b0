"""Find the process that holds the directory lock, without taking the lock."""

import re
from pathlib import Path

from agent.store.files.lock import LOCK_FILE

_NAMED = re.compile(r"process ([0-9]{1,10})\n?")


def find_owner(directory: Path, proc: Path = Path("/proc")) -> int | None:
    """Return the id of the process that holds the lock of `directory`; None if there is none.

    The lock file names the last holder; `/proc/locks` shows if it still holds the lock.
    """
    try:
        named = _NAMED.fullmatch((directory / LOCK_FILE).read_text("utf-8"))
        locks = (proc / "locks").read_text("ascii").splitlines()
        inode = directory.stat().st_ino
    except (OSError, UnicodeDecodeError):
        return None
    if named is None or not any(_is_by(line, named[1], inode) for line in locks):
        return None
    return int(named[1])


def _is_by(line: str, process: str, inode: int) -> bool:
    """Return whether a line of proc_locks(5) is a lock of `process` on `inode`."""
    fields = line.split()
    return (
        len(fields) > _INODE
        and fields[1] == "FLOCK"
        and fields[_PROCESS] == process
        and fields[_INODE].rpartition(":")[2] == str(inode)
    )


_PROCESS, _INODE = 4, 5
