"""Whose turn it is to write to a SQLite file, among tasks and among processes.

SQLite before 3.51.3 can damage a WAL database when two connections write or checkpoint at
once, and `enroll` is a process of its own. So a write takes its turn twice: a lock among the
tasks of this process, and a lock on a file among the processes.

Whoever is next among the processes holds the lock of the queue while it waits: a process with
work without end cannot take its next turn before the other has had one.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_LOOK_SECONDS = 0.002
# Less than an agent waits for its answer.
PATIENCE_SECONDS = 15.0


class Turns:
    """The turns at one file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks = asyncio.Lock()
        self._queue = self._turn = -1

    @property
    def is_open(self) -> bool:
        """Tell whether turns can be had."""
        return self._turn >= 0

    def open(self) -> None:
        """Make the lock files if absent."""
        self._queue = _opened(self._path.with_name(f"{self._path.name}.queue"))
        self._turn = _opened(self._path.with_name(f"{self._path.name}.lock"))

    def close(self) -> None:
        """Give the files back; twice is harmless."""
        for file in (self._queue, self._turn):
            if file >= 0:
                os.close(file)
        self._queue = self._turn = -1

    @asynccontextmanager
    async def own(self, patience_seconds: float = PATIENCE_SECONDS) -> AsyncIterator[None]:
        """Hold the turn while the body runs. Raises `TimeoutError` where it does not come."""
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
