"""Shares one reading of the database among concurrent callers."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class TTLCache(Generic[T]):
    """Caches the result of `load` for `ttl_seconds`. `now_seconds` is a monotonic clock."""

    def __init__(
        self, load: Callable[[], Awaitable[T]], ttl_seconds: float, now_seconds: Callable[[], float]
    ) -> None:
        self._load = load
        self._ttl_seconds = ttl_seconds
        self._now_seconds = now_seconds
        self._lock = asyncio.Lock()
        self._cached: tuple[T, float] | None = None

    async def get(self) -> T:
        """Return the cached or a fresh result. An exception of `load` is raised, not cached."""
        async with self._lock:
            if self._cached is None or self._now_seconds() >= self._cached[1]:
                value = await self._load()
                self._cached = (value, self._now_seconds() + self._ttl_seconds)
            return self._cached[0]


class SingleFlight(Generic[T]):
    """Runs each key once at a time. Not a cache: a later call runs again. Event loop only."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[T]] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the run in progress for `key`, or of a new one.

        A run goes on if its callers are cancelled. Its exception is raised to each caller.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(call())
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: Hashable, done: asyncio.Future[T]) -> None:
        del self._running[key]
        if not done.cancelled():
            # Retrieved: no warning if every caller is gone.
            done.exception()
