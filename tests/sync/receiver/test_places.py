"""Places: no more in hand than there are; who has come waits for one, and not for ever."""

import asyncio

import pytest

from sync.receiver.admission.concurrency import Places
from sync.receiver.admission.rate_limit import Intake, TooBusy


def places(most: int, patience_seconds: float = 30) -> Places:
    """Return so many places, of an intake without a limit of events."""
    return Places(Intake(most, 0, asyncio.get_running_loop().time), patience_seconds)


async def test_who_finds_no_place_waits_until_one_is_free() -> None:
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


async def test_who_waits_for_too_long_is_asked_to_come_again() -> None:
    one_place = places(1, patience_seconds=0.01)

    async with one_place.one():
        with pytest.raises(TooBusy):
            async with one_place.one():
                pass


async def test_place_is_free_again_after_what_failed_in_it() -> None:
    one_place = places(1)

    with pytest.raises(OSError, match="cut"):
        async with one_place.one():
            raise OSError("cut")

    async with one_place.one():
        pass


async def test_who_gave_up_waiting_leaves_the_places_to_the_others() -> None:
    one_place = places(1)

    async with one_place.one():
        gone = asyncio.ensure_future(one_place.one().__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])

    async with one_place.one():
        one_place.check()


async def test_nobody_joins_a_line_that_is_long_already() -> None:
    """A batch takes a tenth of a second before any was seen: ten of them are a second."""
    one_place = places(1)

    async with one_place.one():
        line = [asyncio.ensure_future(one_place.one().__aenter__()) for _ in range(11)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            one_place.check()

    for waiting in line:
        waiting.cancel()
    await asyncio.wait(line)
