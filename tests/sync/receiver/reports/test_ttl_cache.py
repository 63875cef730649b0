"""TTL cache with a shared refresh."""

import asyncio
from dataclasses import dataclass, field

import pytest

from sync.receiver.reports.ttl_cache import TTLCache


@dataclass(slots=True)
class Oracle:
    """Returns 1, 2, …; each call blocks until `free` is set."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    is_broken: bool = False
    seconds: float = 0.0

    async def ask(self) -> int:
        self.asked += 1
        await self.free.wait()
        if self.is_broken:
            raise OSError("no answer")
        return self.asked

    def now_seconds(self) -> float:
        return self.seconds


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture
def remembered(oracle: Oracle) -> TTLCache[int]:
    return TTLCache(oracle.ask, 10, oracle.now_seconds)


async def test_concurrent_callers_share_one_refresh(
    oracle: Oracle, remembered: TTLCache[int]
) -> None:
    asking = asyncio.gather(*(remembered.get() for _ in range(9)))
    await asyncio.sleep(0)
    oracle.free.set()

    assert await asking == [1] * 9


async def test_value_expires_after_its_ttl(oracle: Oracle, remembered: TTLCache[int]) -> None:
    oracle.free.set()
    answers = []
    for oracle.seconds in (0, 9.9, 10, 19.9, 20):
        answers.append(await remembered.get())

    assert answers == [1, 1, 2, 2, 3]


async def test_ttl_starts_when_the_refresh_ends(oracle: Oracle, remembered: TTLCache[int]) -> None:
    asking = asyncio.ensure_future(remembered.get())
    await asyncio.sleep(0)
    oracle.seconds = 100
    oracle.free.set()
    await asking

    oracle.seconds = 109

    assert await remembered.get() == 1


async def test_errors_are_not_cached(oracle: Oracle, remembered: TTLCache[int]) -> None:
    oracle.free.set()
    oracle.is_broken = True
    with pytest.raises(OSError, match="no answer"):
        await remembered.get()
    oracle.is_broken = False

    assert await remembered.get() == 2


async def test_cancelled_caller_leaves_the_refresh_to_the_next(
    oracle: Oracle, remembered: TTLCache[int]
) -> None:
    impatient = asyncio.ensure_future(remembered.get())
    await asyncio.sleep(0)
    patient = asyncio.ensure_future(remembered.get())
    impatient.cancel()
    oracle.free.set()

    assert await patient == 2
