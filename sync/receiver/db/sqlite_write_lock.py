"""Write lock of a SQLite file, between tasks and between processes.

SQLite before 3.51.3 can corrupt a WAL database if two connections write or checkpoint at the
same time, and `enroll` runs in its own process. So each write takes two locks: an asyncio lock
between tasks, then a file lock between processes.

A second lock file makes the write lock fair between processes: the next in line holds it while
it waits, so that a busy process cannot retake the write lock first.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sync.receiver.db.database import DatabaseLockedError
from sync.runtime.files.lock_holder import lock_holder
from sync.runtime.files.private_files import open_private

_POLL_SECONDS = 0.002
# Less than an agent's request timeout.
TIMEOUT_SECONDS = 15.0


class WriteLock:
    """The write lock of one file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks = asyncio.Lock()
        self._queue = self._file = -1

    @property
    def is_open(self) -> bool:
        """Return whether the lock files are open."""
        return self._file >= 0

    def open(self) -> None:
        """Open the lock files; create them if absent."""
        self._queue = _open(self._path.with_name(f"{self._path.name}.queue"))
        self._file = _open(self._path.with_name(f"{self._path.name}.lock"))

    def close(self) -> None:
        """Close the lock files. Idempotent."""
        for file in (self._queue, self._file):
            if file >= 0:
                os.close(file)
        self._queue = self._file = -1

    @asynccontextmanager
    async def acquire(self, timeout_seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[None]:
        """Hold the lock until exit. Raises `TimeoutError` after `timeout_seconds`."""
        await self._lock(timeout_seconds)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._tasks.release()

    async def _lock(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._tasks.acquire()
                try:
                    await self._lock_between_processes()
                except BaseException:
                    self._tasks.release()
                    raise
        except TimeoutError:
            lock = self._path.with_name(f"{self._path.name}.lock")
            raise DatabaseLockedError(self._path, lock_holder(lock)) from None

    async def _lock_between_processes(self) -> None:
        await _flock(self._queue)
        try:
            await _flock(self._file)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    return open_private(path, os.O_RDWR | os.O_CREAT)


async def _flock(file: int) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_POLL_SECONDS)
