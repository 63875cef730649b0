"""Concurrency limiter: bounded slots, bounded wait."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.admission.concurrency import ConcurrencyLimiter
from sync.receiver.admission.load_shedding import LoadShedder, OverItsShare, Overloaded
from sync.receiver.auth.tokens import AgentName

ONE = AgentName("0042", "till-1")
OTHERS = [AgentName(f"{number:04}", "till-1") for number in range(100, 120)]


def limiter_of(max_in_flight: int, patience_seconds: float = 30) -> ConcurrencyLimiter:
    """Return a limiter of `max_in_flight` slots without an event rate limit."""
    return ConcurrencyLimiter(
        LoadShedder(max_in_flight, 0, asyncio.get_running_loop().time), patience_seconds
    )


async def test_request_waits_for_a_free_slot() -> None:
    limiter, order = limiter_of(1), []

    async def take() -> None:
        async with limiter.slot(ONE):
            order.append("taken")

    async with limiter.slot(ONE):
        waiting = asyncio.ensure_future(take())
        await asyncio.sleep(0)
        order.append("given back")
    await waiting

    assert order == ["given back", "taken"]


async def test_wait_for_a_slot_times_out_as_overloaded() -> None:
    limiter = limiter_of(1, patience_seconds=0.01)

    async with limiter.slot(ONE):
        with pytest.raises(Overloaded):
            async with limiter.slot(ONE):
                pass


async def test_slot_is_released_after_a_failure() -> None:
    limiter = limiter_of(1)

    with pytest.raises(OSError, match="cut"):
        async with limiter.slot(ONE):
            raise OSError("cut")

    async with limiter.slot(ONE):
        pass


async def test_cancelled_waiter_does_not_leak_a_slot() -> None:
    limiter = limiter_of(1)

    async with limiter.slot(ONE):
        gone = asyncio.ensure_future(limiter.slot(ONE).__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])

    async with limiter.slot(ONE):
        limiter.check(ONE)


async def test_check_rejects_when_the_queue_is_too_long() -> None:
    """The initial estimate is 0.1 s per batch: ten in the queue take one second."""
    limiter = limiter_of(1)

    async with limiter.slot(ONE):
        line = [asyncio.ensure_future(limiter.slot(other).__aenter__()) for other in OTHERS[:11]]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            limiter.check(OTHERS[11])

    for waiting in line:
        waiting.cancel()
    await asyncio.wait(line)


async def served_in_order(
    limiter: ConcurrencyLimiter, senders: Sequence[AgentName]
) -> list[AgentName]:
    """Let all of them ask for a slot at once; return the order in which they are served."""
    order = []

    async def take(sender: AgentName) -> None:
        async with limiter.slot(sender):
            order.append(sender)
            await asyncio.sleep(0)

    await asyncio.gather(*(take(sender) for sender in senders))
    return order


async def test_sender_with_many_requests_is_served_once_between_those_of_others() -> None:
    first, second = OTHERS[:2]
    asked = [ONE] * 8 + [first, second, first]

    order = await served_in_order(limiter_of(1), asked)

    assert order == [ONE, first, second, ONE, first] + [ONE] * 6


async def test_sender_holds_one_slot_at_a_time() -> None:
    """The others stay free, and with them the queue of the only writer."""
    limiter = limiter_of(16)

    async with limiter.slot(ONE):
        second = asyncio.ensure_future(limiter.slot(ONE).__aenter__())
        async with limiter.slot(OTHERS[0]):
            assert not second.done()
    await second


async def test_sender_that_waits_for_itself_is_over_its_share() -> None:
    limiter = limiter_of(16, patience_seconds=0.01)

    async with limiter.slot(ONE):
        with pytest.raises(OverItsShare):
            async with limiter.slot(ONE):
                pass


async def test_requests_of_one_sender_do_not_fill_the_queue_for_others() -> None:
    limiter = limiter_of(1)

    async with limiter.slot(ONE):
        line = [asyncio.ensure_future(limiter.slot(ONE).__aenter__()) for _ in range(50)]
        await asyncio.sleep(0)
        limiter.check(OTHERS[0])

    for waiting in line:
        waiting.cancel()
    await asyncio.wait(line)


@given(
    asked=st.lists(st.sampled_from(OTHERS), max_size=30),
    cancelled=st.sets(st.integers(0, 29)),
    slots=st.integers(1, 4),
)
def test_no_slot_is_lost_whichever_waiter_is_cancelled(
    asked: list[AgentName], cancelled: set[int], slots: int
) -> None:
    async def run() -> None:
        limiter = limiter_of(slots)
        held: set[AgentName] = set()

        async def take(sender: AgentName) -> None:
            async with limiter.slot(sender):
                assert sender not in held
                held.add(sender)
                assert len(held) <= slots
                try:
                    await asyncio.sleep(0)
                finally:
                    held.discard(sender)

        tasks = [asyncio.ensure_future(take(sender)) for sender in asked]
        await asyncio.sleep(0)
        for number in cancelled & set(range(len(tasks))):
            tasks[number].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [o for o in outcomes if o and not isinstance(o, asyncio.CancelledError)]
        async with AsyncExitStack() as all_slots:
            for sender in OTHERS[:slots]:
                await all_slots.enter_async_context(limiter.slot(sender))

    asyncio.run(run())
