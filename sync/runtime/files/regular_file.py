"""Reads regular files only: a pipe or a device in their place would hold the reader for ever."""

import errno
import os
import stat
from pathlib import Path

_IRREGULAR = "it is no regular file"


def read_regular(file: Path, max_bytes: int = -1) -> bytes:
    """Return the start of a file, -1: all of it. Raises `OSError`, also for a pipe or a device."""
    # Nonblocking: to open a pipe waits for its writer.
    with open(file, "rb", opener=_open_nonblocking) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, _IRREGULAR, str(file))
        return opened.read(max_bytes)


def require_regular(*files: Path | None) -> None:
    """Raise `OSError` for a pipe or a device, before a library that opens by path waits for it."""
    for file in files:
        if file is not None:
            read_regular(file, 0)


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
