"""Checks of the storage directory: owner, permissions, foreign files."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.files.private_files import UnsafeFileError, require_safe_ancestors, user_name

_NAME = "storage directory"
_OTHER_USERS = stat.S_IRWXG | stat.S_IRWXO


def check_directory(path: Path, key_file: Path) -> Check:
    """Check that the agent, and only the agent, has access to the directory and its key."""
    try:
        status = path.stat()
    except OSError:
        parent = nearest_existing(path)
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return passed(_NAME, f"{path} is created at the first start")
        advice = "create it and make the agent's user its owner (chown, mode 0700)"
        return fault(_NAME, f"{path} does not exist, and this user may not create it", advice)
    if not stat.S_ISDIR(status.st_mode):
        return fault(_NAME, f"{path} is not a directory", "set [storage] directory to a directory")
    try:
        require_safe_ancestors(path)
    except UnsafeFileError as error:
        advice = "the agent does not start like that: correct it, or set another directory"
        return fault(_NAME, f"{error.filename}: {error.strerror}", advice)
    return _check_permissions(path, key_file, status)


def _check_permissions(path: Path, key_file: Path, status: os.stat_result) -> Check:
    owner, mode = user_name(status.st_uid), stat.S_IMODE(status.st_mode)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        advice = f"run doctor as that user: sudo -u {owner} loyalty-agent doctor"
        return fault(_NAME, f"{path} belongs to {owner}; this user may not write there", advice)
    if foreign := sorted(_files_of_others(path, status.st_uid)):
        found = f"{path} belongs to {owner}, but other users own {', '.join(foreign)}"
        return fault(_NAME, found, f"change their owner: chown -R {owner}: {path}")
    if _is_open(key_file):
        advice = f"chown {owner}: {key_file} && chmod 600 {key_file}"
        return fault(_NAME, f"other users can read the key {key_file}", advice)
    if mode & stat.S_IWOTH:
        return fault(_NAME, f"every user can write to {path}", f"chmod 700 {path}")
    if mode & _OTHER_USERS:
        found = f"other users can read {path} (mode {mode:04o})"
        return warning(_NAME, found, f"chmod 700 {path}")
    return passed(_NAME, f"{path} belongs to {owner}; other users have no access")


def nearest_existing(path: Path) -> Path:
    """Return `path` or its nearest existing ancestor."""
    for place in (path, *path.parents):
        with contextlib.suppress(PermissionError):
            if place.exists():
                return place
    return Path("/")


def _files_of_others(directory: Path, owner: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if entry.stat(follow_symlinks=False).st_uid != owner:
                yield entry.name


def _is_open(key_file: Path) -> bool:
    try:
        return bool(key_file.stat().st_mode & _OTHER_USERS)
    except OSError:
        return False
