"""Cached value with a TTL: concurrent callers share one refresh."""

import asyncio
from collections.abc import Awaitable, Callable
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
