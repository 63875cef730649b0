"""Write lock of a SQLite file, between tasks and between processes.

SQLite before 3.51.3 can corrupt a WAL database if two connections write or checkpoint at the
same time, and `enroll` runs in its own process. So each write takes two locks: an asyncio lock
between tasks, then a file lock between processes.

A second lock file makes the write lock fair between processes: the next in line holds it while
it waits, so that a busy process cannot retake the write lock first.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_LOOK_SECONDS = 0.002
# Less than an agent's request timeout.
PATIENCE_SECONDS = 15.0


class WriteLock:
    """The write lock of one file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks = asyncio.Lock()
        self._queue = self._turn = -1

    @property
    def is_open(self) -> bool:
        """Return whether the lock files are open."""
        return self._turn >= 0

    def open(self) -> None:
        """Open the lock files; create them if absent."""
        self._queue = _opened(self._path.with_name(f"{self._path.name}.queue"))
        self._turn = _opened(self._path.with_name(f"{self._path.name}.lock"))

    def close(self) -> None:
        """Close the lock files. Idempotent."""
        for file in (self._queue, self._turn):
            if file >= 0:
                os.close(file)
        self._queue = self._turn = -1

    @asynccontextmanager
    async def own(self, patience_seconds: float = PATIENCE_SECONDS) -> AsyncIterator[None]:
        """Hold the lock until exit. Raises `TimeoutError` after `patience_seconds`."""
        await self._take(patience_seconds)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
            self._tasks.release()

    async def _take(self, patience_seconds: float) -> None:
        try:
            async with asyncio.timeout(patience_seconds):
                await self._tasks.acquire()
                try:
                    await self._take_among_processes()
                except BaseException:
                    self._tasks.release()
                    raise
        except TimeoutError:
            reason = "others have been writing for too long; try again, or stop what holds it"
            raise TimeoutError(errno.ETIMEDOUT, reason, str(self._path)) from None

    async def _take_among_processes(self) -> None:
        await _locked(self._queue)
        try:
            await _locked(self._turn)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


async def _locked(file: int) -> None:
    while not _lock_now(file):  # noqa: ASYNC110 - no event crosses processes
        await asyncio.sleep(_LOOK_SECONDS)


def _lock_now(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
