"""Concurrency limiter: bounded slots, bounded wait."""

import asyncio

import pytest

from sync.receiver.admission.admission import ConcurrencyLimiter
from sync.receiver.admission.load_shedding import LoadShedder, Overloaded


def limiter_of(max_in_flight: int, patience_seconds: float = 30) -> ConcurrencyLimiter:
    """Return a limiter of `max_in_flight` slots without an event rate limit."""
    return ConcurrencyLimiter(
        LoadShedder(max_in_flight, 0, asyncio.get_running_loop().time), patience_seconds
    )


async def test_request_waits_for_a_free_slot() -> None:
    limiter, order = limiter_of(1), []

    async def take() -> None:
        async with limiter.slot():
            order.append("taken")

    async with limiter.slot():
        waiting = asyncio.ensure_future(take())
        await asyncio.sleep(0)
        order.append("given back")
    await waiting

    assert order == ["given back", "taken"]


async def test_wait_for_a_slot_times_out_as_overloaded() -> None:
    limiter = limiter_of(1, patience_seconds=0.01)

    async with limiter.slot():
        with pytest.raises(Overloaded):
            async with limiter.slot():
                pass


async def test_slot_is_released_after_a_failure() -> None:
    limiter = limiter_of(1)

    with pytest.raises(OSError, match="cut"):
        async with limiter.slot():
            raise OSError("cut")

    async with limiter.slot():
        pass


async def test_cancelled_waiter_does_not_leak_a_slot() -> None:
    limiter = limiter_of(1)

    async with limiter.slot():
        gone = asyncio.ensure_future(limiter.slot().__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])

    async with limiter.slot():
        limiter.check()


async def test_check_rejects_when_the_queue_is_too_long() -> None:
    """The initial estimate is 0.1 s per batch: ten in the queue take one second."""
    limiter = limiter_of(1)

    async with limiter.slot():
        line = [asyncio.ensure_future(limiter.slot().__aenter__()) for _ in range(11)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            limiter.check()

    for waiting in line:
        waiting.cancel()
    await asyncio.wait(line)
