"""Checks of directories that a service refuses at its start. Changes nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

from sync.runtime.files.private_files import check_private_directory, require_safe_ancestors
from sync.runtime.settings.setting_errors import SettingError


def find_directory_errors(directory: Path, setting: str, uid: int) -> Iterator[SettingError]:
    """Yield why a service of the user `uid` cannot use `directory` for itself alone."""
    try:
        check_private_directory(directory, uid)
    except OSError as error:
        place = str(error.filename or directory)
        yield SettingError(place, setting, error.strerror or str(error))


def find_shared_directory_errors(file: Path, setting: str) -> Iterator[SettingError]:
    """Yield why a service cannot keep `file` in a directory that it shares with others."""
    try:
        require_safe_ancestors(file)
    except OSError as error:
        yield SettingError(str(error.filename), setting, error.strerror or str(error))
        return
    parent = next(place for place in file.parents if os.path.lexists(place))
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
        message = f"it cannot be made: {parent} is not a directory that this user may write to"
        yield SettingError(str(file), setting, message)


def owner_or_self(directory: Path) -> int:
    """Return the user who runs a service of `directory`: to root, the owner of the directory."""
    uid = os.geteuid()
    if uid:
        return uid
    try:
        return directory.stat().st_uid
    except OSError:
        return uid
