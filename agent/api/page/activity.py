"""Reads captures and dead letters for the page: cached, off the event loop, without errors.

However many pages are open, captures are read once within the lifetime of a value; dead letters
for each page, so that it shows a retry at once.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.api.context import Context
from agent.store.files.storage_errors import StorageError
from agent.store.outbox.dead_letter_queue import DeadLetter
from agent.store.queries.capture_status import CaptureStatus
from agent.store.queries.day import Day
from sync.delivery.outbox import OutboxUnavailable

NEWEST = 20
LETTERS = 20
_NEWEST_SECONDS = 2.0
DAY_SECONDS = 5.0
_FAILURES = (sqlite3.Error, OSError, StorageError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Activity:
    """The newest captures, the last 24 hours, the first dead letters; None: not readable now."""

    newest: list[CaptureStatus] | None
    day: Day | None
    letters: list[DeadLetter] | None


class _Cached(Generic[T]):
    """The last result of a blocking read, for some seconds."""

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._value: T | None = None
        self._expires_at = float("-inf")
        self._reading = asyncio.Lock()

    async def get(self) -> T | None:
        """Return the value; None if it cannot be read."""
        async with self._reading:
            if time.monotonic() >= self._expires_at:
                try:
                    self._value = await asyncio.to_thread(self._read)
                except _FAILURES:
                    self._value = None
                self._expires_at = time.monotonic() + self._seconds
            return self._value


class ActivityReader:
    """Reads the activity of one agent."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._newest = _Cached(lambda: context.reader.newest(NEWEST), _NEWEST_SECONDS)
        self._day = _Cached(lambda: context.reader.day(context.now().wall_us), DAY_SECONDS)

    async def read(self) -> Activity:
        """Return the activity, some seconds old at most."""
        newest, day = await self._newest.get(), await self._day.get()
        try:
            letters = await self._context.dead_letters.page(LETTERS)
        except OutboxUnavailable:
            letters = None
        return Activity(newest, day, letters)
