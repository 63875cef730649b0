"""The cost of a batch is linear in its size, however many events its ids already have.

A monitoring probe with a fixed correlation id is enough for a session with thousands of answers.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count

import pytest

from tests.support.head_office.growth import LIMIT, growth
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
    """Return an answer with a distinct time."""
    return answer(number, name)


def same_time(number: int, name: str) -> Members:
    """Return an answer with a distinct value of an unused member."""
    body = {"emailAddress": "guest@example.com", "status": "accepted", "note": f"n{number}"}
    return answer(number, name, body=body, occurredAt=wire_time())


def other_address(number: int, name: str) -> Members:
    """Return an answer with a distinct address."""
    return answer(number, name, f"guest-{number}@example.com", occurredAt=wire_time())


def deferred(number: int, name: str) -> Members:
    """Return an answer without address and with a distinct value of an unused member."""
    body = {"status": "deferred", "note": number}
    return answer(number, name, body=body, occurredAt=wire_time())


def erased_address(number: int, name: str) -> Members:
    """Return an answer with an erased address."""
    body = {"emailAddress": None, "status": "accepted", "erased": True, "note": number}
    return answer(number, name, body=body, occurredAt=wire_time())


ANSWERS = [probe, same_time, other_address, deferred, erased_address]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_batch_of_answers_to_one_session(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        events = [session(1, name), *(kind(number, name) for number in range(2, size + 2))]
        return lambda: store_new(office, till, events)

    assert await growth(office.database, prepare, FEW * 2) < LIMIT


@pytest.mark.parametrize("kind", ANSWERS)
async def test_batch_to_a_session_with_many_answers(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """The cost depends on the batch, not on the session."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        last = 0
        while last < size * 10:
            events = [kind(number, name) for number in range(last + 1, last + 1001)]
            await store_new(office, till, events)
            last += 1000
        events = [kind(number, name) for number in range(last + 1, last + FEW)]
        return lambda: store_new(office, till, events)

    # The ledger grows fourfold; the time must not.
    assert await growth(office.database, prepare, FEW, LIMIT / 2) < LIMIT / 2


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answers_resent_in_a_new_epoch(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """As after a restore of the agent's database: all events are duplicates."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        events = [kind(number, till.till_id) for number in range(1, size + 1)]
        await store_new(office, till, events)
        again = SimulatedAgent(till_id=till.till_id, epoch=EPOCH[::-1])
        return lambda: store_duplicates(office, again, events)

    assert await growth(office.database, prepare, FEW * 2) < LIMIT


async def store_new(office: LedgerDriver, till: SimulatedAgent, events: Sequence[Members]) -> None:
    accepted = await office.take(till, *events)
    assert not accepted.rejections
    assert not accepted.duplicates


async def store_duplicates(
    office: LedgerDriver, till: SimulatedAgent, events: Sequence[Members]
) -> None:
    accepted = await office.take(till, *events)
    assert [one.sequence for one in accepted.duplicates] == [one["sequence"] for one in events]


def unknown_type(number: int, name: str) -> Members:
    return session(number, name, type="points.spent")


def rejected_session(number: int, name: str) -> Members:
    return session(number, name, occurredAt="yesterday")


def other_session(number: int, name: str) -> Members:
    """Return a session with a distinct body."""
    return session(number, name, body={"channel": f"c{number}"}, occurredAt=wire_time())


LISTS = [probe, erased_address, rejected_session, other_session, unknown_type]


@pytest.mark.parametrize("kind", LISTS)
async def test_events_of_one_id_resent(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """As after a lost response, or a restore of head office."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        events = [kind(number, till.till_id) for number in range(1, size + 1)]
        await office.take(till, *events)
        return lambda: office.take(till, *events)

    assert await growth(office.database, prepare, FEW * 2) < LIMIT


@pytest.mark.parametrize("kind", LISTS)
async def test_answer_to_an_id_with_many_events(
    office: LedgerDriver, kind: Callable[[int, str], Members]
) -> None:
    """One id can also have thousands of rejections."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        events = [kind(number, name) for number in range(1, 10 * size + 1)]
        await office.take(till, *events)
        more = [answer(number, name) for number in range(10 * size + 1, 10 * size + FEW)]
        return lambda: office.take(till, *more)

    # The ledger grows fourfold; the time must not.
    assert await growth(office.database, prepare, FEW, LIMIT / 2) < LIMIT / 2


async def test_few_resent_events_between_many_gaps(office: LedgerDriver) -> None:
    """Each answer with an erased address leaves a gap."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        events = [erased_address(number, till.till_id) for number in range(1, 10 * size + 1)]
        await office.take(till, *events)
        some = events[:: len(events) // 10]
        return lambda: office.take(till, *some)

    assert await growth(office.database, prepare, FEW, LIMIT / 2) < LIMIT / 2


async def test_many_gaps_filled_by_one_batch(office: LedgerDriver) -> None:
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

    assert await growth(office.database, prepare, FEW * 2) < LIMIT


async def test_erased_answers_to_a_session_with_many_addresses(
    office: LedgerDriver,
) -> None:
    """An erased address equals any address, so the first answers decide."""

    async def prepare(size: int) -> Callable[[], Awaitable[object]]:
        till = new_till()
        name = till.till_id
        await office.take(till, *(other_address(n, name) for n in range(1, 20 * size + 1)))
        body = {"emailAddress": None, "status": "accepted", "erased": True}
        erased = [
            answer(number, name, body=body, occurredAt=wire_time())
            for number in range(20 * size + 1, 20 * size + 11)
        ]
        return lambda: store_duplicates(office, till, erased)

    assert await growth(office.database, prepare, FEW, LIMIT / 2) < LIMIT / 2
