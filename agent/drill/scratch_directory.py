"""Scratch directories: removed at the end, or after a kill by the next program that makes one.

A lock on the directory shows that its program runs. A new directory is locked before it is renamed
to the name that other programs look for, so that none of them removes it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNNAMED = "new-"


@contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """Yield a new empty directory; before that, remove those that killed programs left."""
    _remove_abandoned(prefix)
    unnamed = Path(tempfile.mkdtemp(prefix=_UNNAMED + prefix))
    lock = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = unnamed.rename(unnamed.with_name(unnamed.name.removeprefix(_UNNAMED)))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)
    finally:
        os.close(lock)


def _remove_abandoned(prefix: str) -> None:
    """Remove this user's directories that no running program has locked."""
    for place in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # of another user, or no directory
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
        except BlockingIOError:
            pass  # its program runs
        finally:
            os.close(lock)
