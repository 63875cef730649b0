"""Tarpit: repeated refusals of one sender are answered slowly, those of others at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.admission import tarpit
from sync.receiver.admission.tarpit import Tarpit
from tests.support.clocks import MonotonicClock
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver


def repeated(pit: Tarpit, sender: str, times: int) -> int:
    """Refuse a sender so often; return how many of these were repeated ones."""
    return sum(pit.is_repeated(sender) for _ in range(times))


def test_first_refusals_are_answered_at_once_and_a_flood_is_not() -> None:
    assert repeated(Tarpit(MonotonicClock(100)), "flood", 1000) == 1000 - 20


def test_flood_of_one_sender_does_not_delay_another() -> None:
    pit = Tarpit(MonotonicClock(100))
    repeated(pit, "flood", 1000)

    assert repeated(pit, "other", 20) == 0


@given(flood=st.integers(1, 1000), later=st.floats(5, 1e6))
def test_sender_that_stops_is_answered_at_once_again(flood: int, later: float) -> None:
    clock = MonotonicClock(100)
    pit = Tarpit(clock)
    repeated(pit, "flood", flood)
    clock.seconds += later

    assert repeated(pit, "flood", 20) == 0


def test_senders_are_forgotten() -> None:
    clock = MonotonicClock(100)
    pit = Tarpit(clock)
    for number in range(10_000):
        pit.is_repeated(number)
        clock.seconds += 0.1

    assert len(pit) <= 2048


async def test_requests_that_are_refused_again_and_again_are_held(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarpit, "HOLD_SECONDS", 0.5)
    other = SimulatedAgent("0043")
    await receiver.enroll(till)
    await receiver.enroll(other)
    asking = [receiver.post("/sync/v1/batches", b"{", till) for _ in range(40)]
    flood = {asyncio.ensure_future(one) for one in asking}
    statuses: list[int] = []
    while len(statuses) < 20:
        done, flood = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        statuses += [answer.result().status for answer in done]
    stored = await receiver.send(other, session(1))
    for held in flood:
        held.cancel()

    assert set(statuses) <= {400, 429}
    assert (len(statuses), stored.status) == (20, 200)
