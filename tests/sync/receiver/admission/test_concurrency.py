"""Concurrency limiter: bounded slots, bounded wait."""

import asyncio

import pytest

from sync.receiver.admission.concurrency import ConcurrencyLimiter
from sync.receiver.admission.rate_limit import Intake, TooBusy


def places(most: int, patience_seconds: float = 30) -> ConcurrencyLimiter:
    """Return a limiter of `most` slots without an event rate limit."""
    return ConcurrencyLimiter(Intake(most, 0, asyncio.get_running_loop().time), patience_seconds)


async def test_request_waits_for_a_free_slot() -> None:
    one_place, order = places(1), []

    async def take() -> None:
        async with one_place.one():
            order.append("taken")

    async with one_place.one():
        waiting = asyncio.ensure_future(take())
        await asyncio.sleep(0)
        order.append("given back")
    await waiting

    assert order == ["given back", "taken"]


async def test_wait_for_a_slot_times_out_with_too_busy() -> None:
    one_place = places(1, patience_seconds=0.01)

    async with one_place.one():
        with pytest.raises(TooBusy):
            async with one_place.one():
                pass


async def test_slot_is_released_after_a_failure() -> None:
    one_place = places(1)

    with pytest.raises(OSError, match="cut"):
        async with one_place.one():
            raise OSError("cut")

    async with one_place.one():
        pass


async def test_cancelled_waiter_does_not_leak_a_slot() -> None:
    one_place = places(1)

    async with one_place.one():
        gone = asyncio.ensure_future(one_place.one().__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])

    async with one_place.one():
        one_place.check()


async def test_check_rejects_when_the_queue_is_too_long() -> None:
    """The initial estimate is 0.1 s per batch: ten in the queue take one second."""
    one_place = places(1)

    async with one_place.one():
        line = [asyncio.ensure_future(one_place.one().__aenter__()) for _ in range(11)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            one_place.check()

    for waiting in line:
        waiting.cancel()
    await asyncio.wait(line)
