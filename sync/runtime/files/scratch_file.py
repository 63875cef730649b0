"""Scratch files: removed at the end, and those that a killed process left by the next one.

A process holds a lock on its scratch file, which ends with it. *Obvious:* the number of the process
in the name. *Why not:* another process has that number by then, also on another machine.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".loyalty-part"


@contextmanager
def scratch_beside(file: Path) -> Iterator[tuple[int, Path]]:
    """Yield the descriptor and path of an empty file of mode 0600 beside `file`, for its content.

    Removed on exit, unless it was renamed. Raises `OSError`.
    """
    try:
        # mkstemp never opens an existing file or a planted symlink. The content may be secret.
        descriptor, name = tempfile.mkstemp(_SUFFIX, f".{file.name[:64]}.", file.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    scratch = Path(name)
    try:
        with suppress(OSError):  # not every file system has locks
            _lock(descriptor)
        yield descriptor, scratch
    finally:
        scratch.unlink(missing_ok=True)
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


def _lock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
