"""The work for a batch grows in proportion to it, whatever lists its sender makes long.

One session with thousands of answers needs no malice: a monitoring probe with a fixed id does it.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count

import pytest

from tests.support.growth import LIMIT, growth
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    EPOCH,
    Members,
    SimulatedAgent,
    answer,
    session,
    wire_time,
)

pytestmark = pytest.mark.slow

FEW = 100
_till = count(1)


def new_till() -> SimulatedAgent:
    return SimulatedAgent(till_id=f"till-{next(_till)}")


def probe(number: int, name: str) -> Members:
    """Return an answer that differs from all others by its time only."""
    return answer(number, name)


def same_moment(number: int, name: str) -> Members:
    """Return an answer that differs by a member that nobody reads."""
    body = {"emailAddress": "guest@example.com", "status": "accepted", "note": f"n{number}"}
    return answer(number, name, body=body, occurredAt=wire_time())


def other_address(number: int, name: str) -> Members:
    """Return an answer that differs by its address only."""
    return answer(number, name, f"guest-{number}@example.com", occurredAt=wire_time())


def deferred(number: int, name: str) -> Members:
    """Return an answer without an address that differs by a member that nobody reads."""
    body = {"status": "deferred", "note": number}
    return answer(number, name, body=body, occurredAt=wire_time())


def erased_address(number: int, name: str) -> Members:
    """Return an answer whose address is erased."""
    body = {"emailAddress": None, "status": "accepted", "erased": True, "note": number}
    return answer(number, name, body=body, occurredAt=wire_time())


pytestmark = pytest.mark.slow
ANSWERS = [probe, same_moment, other_address, deferred, erased_address]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answers_of_one_session_in_one_batch(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        events = [session(1, name), *(kind(number, name) for number in range(2, size + 2))]
        return lambda: taken(office, till, events)

    assert await growth(prepare, FEW * 2) < LIMIT


@pytest.mark.parametrize("kind", ANSWERS)
async def test_batch_to_a_session_with_many_answers(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """Each batch costs what it holds, not what the session holds."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        last = 0
        while last < size * 10:
            events = [kind(number, name) for number in range(last + 1, last + 1001)]
            await taken(office, till, events)
            last += 1000
        events = [kind(number, name) for number in range(last + 1, last + FEW)]
        return lambda: taken(office, till, events)

    # The size grows fourfold, the time must not grow at all.
    assert await growth(prepare, FEW) < LIMIT / 2


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answers_of_one_session_again_in_a_new_epoch(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """As after a restore of the agent's database: all are duplicates."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        events = [kind(number, till.till_id) for number in range(1, size + 1)]
        await taken(office, till, events)
        again = SimulatedAgent(till_id=till.till_id, epoch=EPOCH[::-1])
        return lambda: duplicated(office, again, events)

    assert await growth(prepare, FEW * 2) < LIMIT


async def taken(office: LedgerDriver, till: SimulatedAgent, events: Sequence[Members]) -> None:
    accepted = await office.take(till, *events)
    assert not accepted.rejections
    assert not accepted.duplicates


async def duplicated(office: LedgerDriver, till: SimulatedAgent, events: Sequence[Members]) -> None:
    accepted = await office.take(till, *events)
    assert [one.sequence for one in accepted.duplicates] == [one["sequence"] for one in events]


def unknown_type(number: int, name: str) -> Members:
    return session(number, name, type="points.spent")


def rejected_session(number: int, name: str) -> Members:
    return session(number, name, occurredAt="yesterday")


def other_session(number: int, name: str) -> Members:
    """Return a session that differs from all others of its id."""
    return session(number, name, body={"channel": f"c{number}"}, occurredAt=wire_time())


LISTS = [probe, erased_address, rejected_session, other_session, unknown_type]


@pytest.mark.parametrize("kind", LISTS)
async def test_events_of_one_id_sent_again(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """As after a lost answer, or a restore of head office."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        events = [kind(number, till.till_id) for number in range(1, size + 1)]
        await office.take(till, *events)
        return lambda: office.take(till, *events)

    assert await growth(prepare, FEW * 2) < LIMIT


@pytest.mark.parametrize("kind", LISTS)
async def test_answer_to_an_id_with_many_events(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """Rejections as well can be thousands under one id."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        events = [kind(number, name) for number in range(1, 10 * size + 1)]
        await office.take(till, *events)
        more = [answer(number, name) for number in range(10 * size + 1, 10 * size + FEW)]
        return lambda: office.take(till, *more)

    # The size grows fourfold, the time must not grow at all.
    assert await growth(prepare, FEW) < LIMIT / 2


async def test_few_numbers_far_apart_between_many_gaps(office: LedgerDriver) -> None:
    """Each answer with an erased address leaves a gap."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        events = [erased_address(number, till.till_id) for number in range(1, 10 * size + 1)]
        await office.take(till, *events)
        some = events[:: len(events) // 10]
        return lambda: office.take(till, *some)

    assert await growth(prepare, FEW) < LIMIT / 2


async def test_many_gaps_filled_at_once(office: LedgerDriver) -> None:
    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        await office.take(till, *(erased_address(number, name) for number in range(1, size + 1)))
        body = {"emailAddress": "guest@example.com", "status": "accepted"}
        found = [
            answer(number, name, body={**body, "note": number}, occurredAt=wire_time())
            for number in range(1, size + 1)
        ]
        return lambda: office.take(till, *found)

    assert await growth(prepare, FEW * 2) < LIMIT


async def test_erased_answers_to_a_session_with_many_that_differ_by_address(
    office: LedgerDriver,
) -> None:
    """An erased address equals any: the first of them decide."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        await office.take(till, *(other_address(n, name) for n in range(1, 20 * size + 1)))
        body = {"emailAddress": None, "status": "accepted", "erased": True}
        erased = [
            answer(number, name, body=body, occurredAt=wire_time())
            for number in range(20 * size + 1, 20 * size + 11)
        ]
        return lambda: duplicated(office, till, erased)

    assert await growth(prepare, FEW) < LIMIT / 2
