"""Exclusive lock on the storage directory: one process owns the store."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

LOCK_FILE = "agent.lock"


class StoreInUse(Exception):  # noqa: N818 - names the condition that the operator sees
    """Another process holds the lock on this storage directory."""


class StoreLock:
    """Holds a storage directory from `acquire` until `release` or the end of the process.

    The lock (flock) is on the directory itself, so it needs no space on a full disk. The file
    `agent.lock` only names the holder.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting. Raises `StoreInUse` with the holder's process id."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreInUse(
                f"the storage directory {self._directory} is in use by {self._holder()}: "
                "stop that agent, or set another [storage] directory"
            ) from None
        self._descriptor = descriptor
        self._name_holder()

    def release(self) -> None:
        """Release the lock. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        """Acquire the lock."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.release()

    def _name_holder(self) -> None:
        try:
            (self._directory / LOCK_FILE).write_text(f"process {os.getpid()}\n")
        except OSError:
            # The disk is full: the lock holds, only the name of its holder is missing.
            return

    def _holder(self) -> str:
        try:
            return (self._directory / LOCK_FILE).read_text().strip() or "another process"
        except OSError:
            return "another process"
