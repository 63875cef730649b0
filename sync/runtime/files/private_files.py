"""Files and directories of this user alone, safe from other local users.

Another user may have made a directory before we did, planted a link or a file in it, or hold a
descriptor from a time when it was open to all. So a directory is first made private, then its
entries are checked; files in it are opened without following links.
"""

import contextlib
import errno
import os
import pwd
import stat
from pathlib import Path

from sync.runtime.files.atomic_file import make_directory

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0
# Of both programs' databases, locks, marks and keys.
_OUR_NAMES = ("agent.", "hq.", "encryption.", "readers")
_NO_FILE = "it is a link or no regular file: remove it"


class UnsafeFileError(PermissionError):
    """A file or directory that another user controls, or could."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(path))


def make_private_directory(directory: Path) -> None:
    """Create `directory`, or make it private: ours, mode 0700, nothing of other users in it.

    Raises `UnsafeFileError` if that is not possible, and `OSError`.
    """
    make_directory(directory)
    require_safe_ancestors(directory)
    status = _require_directory_of(directory, os.geteuid())
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        directory.chmod(mode & ~_OTHERS)
    # From here on no other user can add anything.
    was_open = bool(mode & _OTHERS_WRITE)
    entries = _entries_of(directory)
    try:
        _require_not_planted(entries, os.geteuid(), was_open=was_open)
    except UnsafeFileError:
        if was_open:
            # Else the next start would take the entry for one of a directory that never was.
            directory.chmod(mode)
        raise
    for entry, status in entries:
        if status.st_mode & _OTHERS and _is_our_own(status):
            with contextlib.suppress(FileNotFoundError):
                entry.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)


def check_private_directory(directory: Path, uid: int) -> None:
    """Raise as `make_private_directory` would for the user `uid`. Changes nothing."""
    require_safe_ancestors(directory)
    if not directory.exists():
        parent = next(place for place in directory.parents if os.path.lexists(place))
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
            reason = f"it cannot be made: {parent} is not a directory that this user may write to"
            raise OSError(errno.EACCES, reason, str(directory))
        return
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is not a directory", str(directory))
    status = _require_directory_of(directory, uid)
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise OSError(errno.EACCES, "this user may not write to it", str(directory))
    was_open = bool(status.st_mode & _OTHERS_WRITE)
    _require_not_planted(_entries_of(directory), uid, was_open=was_open)


def _entries_of(directory: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the entries, without those that another process of ours removes meanwhile."""
    found = []
    for entry in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append((entry, entry.lstat()))
    return found


def _require_directory_of(directory: Path, uid: int) -> os.stat_result:
    status = directory.stat()
    if status.st_uid != uid:
        reason = (
            f"it belongs to {user_name(status.st_uid)}, not to {user_name(uid)}: run as"
            " that user, change the owner, or set another [storage] directory"
        )
        raise UnsafeFileError(directory, reason)
    return status


def _require_not_planted(
    entries: list[tuple[Path, os.stat_result]], uid: int, *, was_open: bool
) -> None:
    for entry, status in entries:
        if _may_be_planted(entry.name, status, uid, was_open=was_open):
            reason = "another user may have put it there: check it, then remove it or chown it"
            raise UnsafeFileError(entry, reason)


def require_safe_ancestors(path: Path) -> None:
    """Raise `UnsafeFileError` if any user could replace `path`, or a link on the way to it."""
    real = Path(os.path.realpath(path))
    absolute = path.absolute()
    for place in {*absolute.parents, *real.parents, absolute}:
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # it is made later, or cannot be
        if stat.S_ISLNK(status.st_mode) and not _is_trusted(status):
            reason = f"it is a link made by {user_name(status.st_uid)}: set the directory itself"
            raise UnsafeFileError(place, reason)
        is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if stat.S_ISDIR(status.st_mode) and is_open and place not in {absolute, real}:
            reason = f"any user may replace what is in it: chmod o-w {place}"
            raise UnsafeFileError(place, reason)


def open_private(path: Path, flags: int) -> int:
    """Open a file of ours, mode 0600; return the descriptor. Creates it with `O_CREAT`.

    Follows no link. Raises `UnsafeFileError` for a file of another user, and `OSError`.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnsafeFileError(path, _NO_FILE) from None
        raise
    try:
        status = os.fstat(descriptor)
        _require_file_of_ours(path, status)
        if status.st_mode & _OTHERS and _is_our_own(status):
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path, max_bytes: int) -> bytes:
    """Return the start of a file of ours: see `open_private`."""
    descriptor = open_private(path, os.O_RDONLY)
    try:
        return os.read(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def read_secret_file(path: Path, max_bytes: int, *, make_private: bool = True) -> bytes:
    """Return the start of a file named in the settings; take its permissions for others away.

    Not without `make_private`: root's commands would take them from the service. A link made by
    root or by this user is followed: secrets are often mounted so. The file may belong to another
    user. Raises `UnsafeFileError` for a link of another user, and `OSError`.
    """
    status = path.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    if is_link and not _is_trusted(status):
        raise UnsafeFileError(path, f"it is a link made by {user_name(status.st_uid)}: remove it")
    # Nonblocking: a pipe in place of the file must not hold the start.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if is_link else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if make_private and status.st_mode & _OTHERS and _is_our_own(status):
            # Not on a read-only file system; `doctor` reports it then.
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS)
        return os.read(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def is_readable(path: Path) -> bool:
    """Return whether there is such a file that this user may read."""
    return os.access(path, os.R_OK, effective_ids=True)


def create_private(path: Path) -> None:
    """Create an empty file with mode 0600 if there is none, for a library that opens by path.

    An existing one is made private, and not opened: to close it would drop this process's locks
    on it (fcntl(2)). Raises `UnsafeFileError` for a link or a file of another user, and `OSError`.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        status = path.lstat()
        _require_file_of_ours(path, status)
        if status.st_mode & _OTHERS and _is_our_own(status):
            path.chmod(0o600)


def user_name(uid: int) -> str:
    """Return the name of a user, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _may_be_planted(name: str, status: os.stat_result, uid: int, *, was_open: bool) -> bool:
    """Return whether another user may have planted this entry, to be used by the program.

    In a directory that was never open only root can have put it there: a file under a name that
    the program does not use, such as a support's note, is harmless.
    """
    if not was_open:
        return name.startswith(_OUR_NAMES) and status.st_uid not in {_ROOT, uid}
    is_second_name = status.st_nlink > 1 and stat.S_ISREG(status.st_mode)
    is_strange = status.st_uid not in {_ROOT, uid}
    return is_strange or stat.S_ISLNK(status.st_mode) or is_second_name


def _is_our_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode)


def _require_file_of_ours(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError(path, _NO_FILE)
    if not _is_trusted(status):
        owner, user = user_name(status.st_uid), user_name(os.geteuid())
        raise UnsafeFileError(path, f"it belongs to {owner}, not to {user}: run as that user")


def _is_trusted(status: os.stat_result) -> bool:
    return status.st_uid in {_ROOT, os.geteuid()}
