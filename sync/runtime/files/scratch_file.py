"""Scratch files: removed at the end, and those that a killed process left by the next one.

A process holds a lock on its scratch file, which ends with it. *Obvious:* the number of the process
in the name. *Why not:* another process has that number by then, also on another machine.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".loyalty-part"


@contextmanager
def scratch_beside(file: Path) -> Iterator[tuple[int, Path]]:
    """Yield the descriptor and path of an empty file of mode 0600 beside `file`, for its content.

    Removed on exit, unless it was renamed. Raises `OSError`.
    """
    scratch = file.with_name(f".{file.name[:64]}.{secrets.token_hex(8)}{_SUFFIX}")
    descriptor = None
    try:
        # Inside: a signal may end the command right after the file is made.
        descriptor = _make(scratch, file)
        with suppress(OSError):  # not every file system has locks
            _lock(descriptor)
        yield descriptor, scratch
    finally:
        with suppress(OSError):  # renamed, or never made
            scratch.unlink()
        if descriptor is not None:
            os.close(descriptor)


def remove_abandoned(directory: Path) -> None:
    """Remove the scratch files of this user in `directory` that killed processes left."""
    for scratch in abandoned_in(directory):
        with suppress(OSError):
            scratch.unlink()


def abandoned_in(directory: Path) -> Iterator[Path]:
    """Yield the scratch files of this user in `directory` whose process has ended."""
    for file in directory.glob(f".*{_SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                    _lock(descriptor)
                    yield file
            finally:
                os.close(descriptor)


def _make(scratch: Path, file: Path) -> int:
    try:
        # Never an existing file or a planted symlink: the content may be secret.
        return os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def _lock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
