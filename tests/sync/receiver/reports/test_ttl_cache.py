"""TTL cache with a shared refresh."""

import asyncio
from dataclasses import dataclass, field

import pytest

from sync.receiver.reports.shared_reads import TTLCache


@dataclass(slots=True)
class Counter:
    """Returns 1, 2, …; each call blocks until `free` is set."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    is_broken: bool = False
    seconds: float = 0.0

    async def load(self) -> int:
        self.calls += 1
        await self.free.wait()
        if self.is_broken:
            raise OSError("no answer")
        return self.calls

    def now_seconds(self) -> float:
        return self.seconds


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def cache(counter: Counter) -> TTLCache[int]:
    return TTLCache(counter.load, 10, counter.now_seconds)


async def test_concurrent_callers_share_one_refresh(counter: Counter, cache: TTLCache[int]) -> None:
    getting = asyncio.gather(*(cache.get() for _ in range(9)))
    await asyncio.sleep(0)
    counter.free.set()

    assert await getting == [1] * 9


async def test_value_expires_after_its_ttl(counter: Counter, cache: TTLCache[int]) -> None:
    counter.free.set()
    answers = []
    for counter.seconds in (0, 9.9, 10, 19.9, 20):
        answers.append(await cache.get())

    assert answers == [1, 1, 2, 2, 3]


async def test_ttl_starts_when_the_refresh_ends(counter: Counter, cache: TTLCache[int]) -> None:
    getting = asyncio.ensure_future(cache.get())
    await asyncio.sleep(0)
    counter.seconds = 100
    counter.free.set()
    await getting

    counter.seconds = 109

    assert await cache.get() == 1


async def test_errors_are_not_cached(counter: Counter, cache: TTLCache[int]) -> None:
    counter.free.set()
    counter.is_broken = True
    with pytest.raises(OSError, match="no answer"):
        await cache.get()
    counter.is_broken = False

    assert await cache.get() == 2


async def test_cancelled_caller_leaves_the_refresh_to_the_next(
    counter: Counter, cache: TTLCache[int]
) -> None:
    impatient = asyncio.ensure_future(cache.get())
    await asyncio.sleep(0)
    patient = asyncio.ensure_future(cache.get())
    impatient.cancel()
    counter.free.set()

    assert await patient == 2
