"""Exclusive lock on the storage directory: one process owns the store."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = "agent.lock"


class StoreInUse(Exception):  # noqa: N818 - names the condition that the operator sees
    """Another process holds the lock on this storage directory."""


@contextlib.contextmanager
def storage_lock(directory: Path) -> Iterator[None]:
    """Hold `directory` until the block or the process ends. Raises `StoreInUse` without waiting.

    The lock (flock) is on the directory itself, so it needs no space on a full disk. The file
    `agent.lock` only names the holder.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUse(
                f"the storage directory {directory} is in use by {_holder(directory)}: "
                "stop that agent, or set another [storage] directory"
            ) from None
        # On a full disk the lock holds, only the name of its holder is missing.
        with contextlib.suppress(OSError):
            (directory / LOCK_FILE).write_text(f"process {os.getpid()}\n")
        yield
    finally:
        os.close(descriptor)


def _holder(directory: Path) -> str:
    try:
        return (directory / LOCK_FILE).read_text().strip() or "another process"
    except OSError:
        return "another process"
