"""Readers' token that head office makes itself, if the settings name none.

It is in the storage directory, which is this user's alone; see `private_files.py`.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from sync.runtime.files.atomic_file import create_file
from sync.runtime.files.private_files import UnsafeFileError, make_private_directory, read_private
from sync.runtime.settings.secret_files import ADMIN_TOKEN_CHARACTERS
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

FILE_NAME = "readers-token"
_SETTING = "access.admin_token_file"
_MAX_BYTES = 4096
# A read-only or missing place: no retry helps. A full disk is not one of them.
_UNUSABLE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}


def own_token(directory: Path, new_secret: Callable[[], str]) -> str:
    """Return the token in `directory`; make it, durably, if there is none.

    Idempotent, also if several processes start at once. Raises `ConfigurationError` if the file
    holds no token or cannot be made there, `UnsafeFileError` if another user controls it, and
    `OSError`.
    """
    try:
        return _own_token(directory, new_secret)
    except UnsafeFileError:
        raise
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        message = (
            f"no readers' token can be made in {directory} ({error.strerror}); name a file,"
            " or set storage.directory to a directory that this user may write"
        )
        raise ConfigurationError([SettingError("", _SETTING, message)]) from None


def read_own_token(directory: Path) -> str:
    """Return the token in `directory`. Raises `ConfigurationError` if it is gone or unusable."""
    path = directory / FILE_NAME
    try:
        token = _read(path)
    except OSError as error:
        reason = f"the file cannot be read ({error.strerror})"
        raise ConfigurationError([SettingError(str(path), _SETTING, reason)]) from None
    if token is None:
        raise ConfigurationError([SettingError(str(path), _SETTING, "the file is gone")])
    return token


def check_own_token(directory: Path) -> None:
    """Raise `ConfigurationError` if the file in `directory` holds no token. Changes nothing."""
    path = directory / FILE_NAME
    try:
        _check(path, path.read_bytes()[:_MAX_BYTES])
    except OSError:
        return  # there is none, or this user may not read it


def _own_token(directory: Path, new_secret: Callable[[], str]) -> str:
    path = directory / FILE_NAME
    make_private_directory(directory)
    token = _read(path)
    if token is None:
        create_file(path, f"{new_secret()}\n".encode())
        token = _read(path)
    if token is None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return token


def _read(path: Path) -> str | None:
    try:
        content = read_private(path, _MAX_BYTES)
    except FileNotFoundError:
        return None
    return _check(path, content)


def _check(path: Path, content: bytes) -> str:
    token = content.decode("latin-1").removesuffix("\n")
    if len(token) < ADMIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
        message = (
            "this is not a token that head office has made; delete the file, and the next start"
            " makes a new one"
        )
        raise ConfigurationError([SettingError(str(path), _SETTING, message)])
    return token
