"""Cached value with a TTL: concurrent callers share one refresh."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class TTLCache(Generic[T]):
    """Caches the result of `ask` for `good_for_seconds`. `now_seconds` is a monotonic clock."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        good_for_seconds: float,
        now_seconds: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._good_for_seconds = good_for_seconds
        self._now_seconds = now_seconds
        self._asking = asyncio.Lock()
        self._known: tuple[T, float] | None = None

    async def get(self) -> T:
        """Return the cached or a fresh result. An exception from `ask` is raised and not cached."""
        async with self._asking:
            if self._known is None or self._now_seconds() >= self._known[1]:
                answer = await self._ask()
                self._known = (answer, self._now_seconds() + self._good_for_seconds)
            return self._known[0]
