"""Write lock of a SQLite file, between tasks and between processes.

SQLite before 3.51.3 can corrupt a WAL database if two connections write or checkpoint at the
same time, and `enroll` runs in its own process. So each write takes two locks: an asyncio lock
between tasks, then a file lock between processes.

A second lock file makes the write lock fair between processes: the next in line holds it while
it waits, so that a busy process cannot retake the write lock first.

A command may hold the lock for minutes (VACUUM). Once a task has waited for it in vain, one at a
time waits on, and the others fail at once: agents are told to come again, and lose no time.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sync.receiver.db.database import DatabaseLockedError, DatabaseUnavailableError
from sync.runtime.files.lock_holder import lock_holder
from sync.runtime.files.private_files import is_readable, open_private

_POLL_SECONDS = 0.002
# For the tasks of this process: less than an agent's request timeout.
_TASKS_SECONDS = 15.0
# For another process. A receiver waits less than `/readyz` does, which so learns of it.
SERVING_SECONDS, COMMAND_SECONDS = 1.5, 15.0


class WriteLock:
    """The write lock of one file, from `open` to `close`. `seconds`: for another process."""

    def __init__(self, path: Path, seconds: float = COMMAND_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._tasks = asyncio.Lock()
        self._is_taken = False
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
    async def acquire(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Hold the lock until exit. Raises `DatabaseLockedError` if another process keeps it."""
        try:
            await self._lock(self._seconds if seconds is None else seconds)
        except TimeoutError:
            lock = self._path.with_name(f"{self._path.name}.lock")
            raise DatabaseLockedError(self._path, lock_holder(lock)) from None
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._tasks.release()

    async def _lock(self, seconds: float) -> None:
        is_queued = self._tasks.locked()
        self._give_up(is_queued)
        try:
            async with asyncio.timeout(_TASKS_SECONDS):
                await self._tasks.acquire()
        except TimeoutError:
            words = f"the writes before this one took {_TASKS_SECONDS:g} s: the disk is slow"
            raise DatabaseUnavailableError(words, "57014") from None
        try:
            self._give_up(is_queued)
            async with asyncio.timeout(seconds):
                await self._lock_between_processes()
        except BaseException as error:
            self._is_taken = isinstance(error, TimeoutError)
            self._tasks.release()
            raise
        self._is_taken = False

    def _give_up(self, is_queued: bool) -> None:  # noqa: FBT001 - a condition of one line
        if is_queued and self._is_taken:
            raise TimeoutError

    async def _lock_between_processes(self) -> None:
        await _flock(self._queue)
        try:
            await _flock(self._file)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)


def find_long_holder(path: Path) -> str | None:
    """Return who keeps the write lock of a database for longer than a receiver waits for it.

    None if nobody does, or if this user may not know. Blocks until that is known; makes no file.
    """
    deadline = time.monotonic() + SERVING_SECONDS
    queue, lock = (path.with_name(f"{path.name}.{end}") for end in ("queue", "lock"))
    with contextlib.ExitStack() as opened:
        for name in filter(is_readable, (queue, lock)):
            file = os.open(name, os.O_RDONLY)
            opened.callback(os.close, file)
            while not _try_flock(file):
                if time.monotonic() > deadline:
                    # Whoever keeps the queue waits for the lock, as a receiver with tills does.
                    return lock_holder(lock) or "another process"
                time.sleep(_POLL_SECONDS)
    return None


def _open(path: Path) -> int:
    return open_private(path, os.O_RDWR | os.O_CREAT)


async def _flock(file: int) -> None:
    while not _try_flock(file):  # noqa: ASYNC110 - another process
        await asyncio.sleep(_POLL_SECONDS)


def _try_flock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
