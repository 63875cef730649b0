"""Readers' token that head office makes itself, if the settings name none.

The file is used only if nobody else could have written or read it: a regular file of this user,
mode 0600, opened without following a link.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from sync.runtime.atomic_file import make_directory, sync_directory
from sync.runtime.settings.secret_files import ADMIN_TOKEN_CHARACTERS
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

FILE_NAME = "readers-token"
_SETTING = "access.admin_token_file"
_MAX_BYTES = 4096
_NEW_ONE = "delete it, and the next start makes a new token"


def own_token(directory: Path, new_secret: Callable[[], str]) -> str:
    """Return the token in `directory`; make it, durably, if there is none.

    Idempotent, also if several processes start at once. Raises `ConfigurationError` if the file
    cannot be trusted, or `OSError`.
    """
    path = directory / FILE_NAME
    token = _read(path)
    if token is None:
        make_directory(directory)
        _make(path, new_secret())
        token = _read(path)
    if token is None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return token


def _read(path: Path) -> str | None:
    # O_NONBLOCK: opening a FIFO would block the start.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _error(path, f"this is a link; {_NEW_ONE}") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise _error(path, f"this is not a file of this user; {_NEW_ONE}")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise _error(path, f"other users may read or write this file; {_NEW_ONE}")
        token = os.read(descriptor, _MAX_BYTES).decode("latin-1").removesuffix("\n")
    finally:
        os.close(descriptor)
    if len(token) < ADMIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
        raise _error(path, f"this is not a token that head office has made; {_NEW_ONE}")
    return token


def _make(path: Path, token: str) -> None:
    """Write the token to a new file; leave a file that another process has made meanwhile."""
    # mkstemp: mode 0600, never an existing file or a planted link.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{token}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces an existing file.
        path.hardlink_to(scratch)
    except FileExistsError:
        pass
    finally:
        scratch.unlink(missing_ok=True)
    sync_directory(path.parent)


def _error(path: Path, message: str) -> ConfigurationError:
    return ConfigurationError([SettingError(str(path), _SETTING, message)])
