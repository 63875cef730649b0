"""Checks of the storage directory: owner, permissions, foreign files; holder of its lock."""

import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from agent.doctor.check import Check, fault, passed, warning
from agent.store.files.lock import LOCK_FILE

_NAME = "storage directory"
_OTHER_USERS = stat.S_IRWXG | stat.S_IRWXO
_LOCK_CONTENT = re.compile(r"process ([0-9]{1,10})\n?")
# Fields of a line in proc_locks(5).
_KIND, _PROCESS, _INODE = 1, 4, 5


class DirectoryState(Enum):
    """State of the configured path."""

    EXISTS = auto()
    CREATABLE = auto()
    NOT_CREATABLE = auto()
    NOT_A_DIRECTORY = auto()


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """Facts about the directory. `foreign` files have another owner than the directory.

    `is_usable`: the current user may write there. `open_key`: the key file, if other users may
    read it.
    """

    path: Path
    state: DirectoryState
    owner: str = ""
    mode: int = 0
    is_usable: bool = False
    foreign: tuple[str, ...] = ()
    open_key: Path | None = None


def read_directory(directory: Path, key_file: Path) -> DirectoryFacts:
    """Read permissions and owners of `directory` and its entries."""
    try:
        found = directory.stat()
    except OSError:
        parent = nearest_existing(directory)
        may_create = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
        state = DirectoryState.CREATABLE if may_create else DirectoryState.NOT_CREATABLE
        return DirectoryFacts(directory, state)
    if not stat.S_ISDIR(found.st_mode):
        return DirectoryFacts(directory, DirectoryState.NOT_A_DIRECTORY)
    return DirectoryFacts(
        directory,
        DirectoryState.EXISTS,
        owner=_user(found.st_uid),
        mode=stat.S_IMODE(found.st_mode),
        is_usable=os.access(directory, os.R_OK | os.W_OK | os.X_OK),
        foreign=tuple(sorted(_foreign(directory, found.st_uid))),
        open_key=key_file if _is_open(key_file) else None,
    )


def check_directory(facts: DirectoryFacts) -> Check:
    """Judge if the agent, and only the agent, has access."""
    path = facts.path
    match facts.state:
        case DirectoryState.EXISTS:
            return _check_permissions(facts)
        case DirectoryState.CREATABLE:
            return passed(_NAME, f"{path} is created at the first start")
        case DirectoryState.NOT_CREATABLE:
            advice = "create it and make the agent's user its owner (chown, mode 0700)"
            return fault(_NAME, f"{path} does not exist, and this user may not create it", advice)
        case DirectoryState.NOT_A_DIRECTORY:
            advice = "set [storage] directory to a directory"
            return fault(_NAME, f"{path} is not a directory", advice)


def nearest_existing(path: Path) -> Path:
    """Return `path` or its nearest existing ancestor."""
    return next((place for place in (path, *path.parents) if _exists(place)), Path("/"))


def find_lock_holder(directory: Path, proc: Path = Path("/proc")) -> int | None:
    """Return the id of the process that holds the lock of `directory`; None if there is none.

    The lock file names the last holder; `/proc/locks` shows if it still holds the lock.
    """
    try:
        last_holder = _LOCK_CONTENT.fullmatch((directory / LOCK_FILE).read_text("utf-8"))
        locks = (proc / "locks").read_text("ascii").splitlines()
        inode = directory.stat().st_ino
    except (OSError, UnicodeDecodeError):
        return None
    if last_holder is None or not any(_is_lock_of(line, last_holder[1], inode) for line in locks):
        return None
    return int(last_holder[1])


def _check_permissions(facts: DirectoryFacts) -> Check:
    path, owner = facts.path, facts.owner
    if not facts.is_usable:
        advice = f"run doctor as that user: sudo -u {owner} loyalty-agent doctor"
        return fault(_NAME, f"{path} belongs to {owner}; this user may not write there", advice)
    if facts.foreign:
        found = f"{path} belongs to {owner}, but other users own {', '.join(facts.foreign)}"
        return fault(_NAME, found, f"change their owner: chown -R {owner}: {path}")
    if facts.open_key is not None:
        key = facts.open_key
        return fault(_NAME, f"other users can read the key {key}", f"chmod 600 {key}")
    if facts.mode & stat.S_IWOTH:
        return fault(_NAME, f"every user can write to {path}", f"chmod 700 {path}")
    if facts.mode & _OTHER_USERS:
        found = f"other users can read {path} (mode {facts.mode:04o})"
        return warning(_NAME, found, f"chmod 700 {path}")
    return passed(_NAME, f"{path} belongs to {owner}; other users have no access")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _foreign(directory: Path, owner: int) -> Iterator[str]:
    try:
        for entry in os.scandir(directory):
            if entry.stat(follow_symlinks=False).st_uid != owner:
                yield entry.name
    except OSError:
        return


def _is_open(key_file: Path) -> bool:
    try:
        return bool(key_file.stat().st_mode & _OTHER_USERS)
    except OSError:
        return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_lock_of(line: str, process: str, inode: int) -> bool:
    """Return whether a line of proc_locks(5) is a lock of `process` on `inode`."""
    fields = line.split()
    return (
        len(fields) > _INODE
        and fields[_KIND] == "FLOCK"
        and fields[_PROCESS] == process
        and fields[_INODE].rpartition(":")[2] == str(inode)
    )
