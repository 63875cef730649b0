"""Concurrent calls with one key share one run."""

import asyncio

import pytest

from sync.receiver.reports.shared_reads import SingleFlight


class Load:
    """Returns the number of its run, once it may."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        number = self.runs
        await self.may_end.wait()
        return number


async def test_concurrent_callers_share_a_run_and_the_next_one_starts_another() -> None:
    flight: SingleFlight[int] = SingleFlight()
    load = Load()
    callers = [asyncio.ensure_future(flight.run("a", load)) for _ in range(3)]
    other = asyncio.ensure_future(flight.run("b", load))
    await asyncio.sleep(0)
    load.may_end.set()

    assert await asyncio.gather(*callers, other) == [1, 1, 1, 2]
    assert await flight.run("a", load) == 3


async def test_cancelled_caller_does_not_take_the_result_from_the_others() -> None:
    flight: SingleFlight[int] = SingleFlight()
    load = Load()
    first, second = (asyncio.ensure_future(flight.run("a", load)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    load.may_end.set()

    assert await second == 1
    assert first.cancelled()


async def test_exception_is_raised_to_each_caller_and_not_kept() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        raise ConnectionError

    async def succeed() -> int:
        return 1

    for outcome in await asyncio.gather(
        flight.run("a", fail), flight.run("a", fail), return_exceptions=True
    ):
        assert isinstance(outcome, ConnectionError)
    with pytest.raises(ConnectionError):
        await flight.run("a", fail)
    assert await flight.run("a", succeed) == 1
