"""Memory budget: never exceeded, and fully released at the end."""

from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.admission.load_shedding import OverItsShare, Overloaded
from sync.receiver.admission.memory_budget import (
    MAX_REQUESTS_PER_AGENT,
    MIB,
    REQUEST_BYTES,
    MemoryBudget,
    MemoryBudgetExceeded,
)
from sync.receiver.admission.receive import MAX_BODY_BYTES
from sync.receiver.auth.tokens import AgentName

ONE, OTHER = AgentName("0042", "till-1"), AgentName("0043", "till-1")
SIZES = st.integers(0, 5 * MIB)


def busy(_: AgentName) -> Overloaded:
    """Reject with Retry-After 7."""
    return Overloaded(7)


@given(requests=st.lists(st.lists(SIZES, max_size=4), max_size=12), max_bytes=SIZES)
def test_budget_is_never_exceeded_and_fully_released(
    requests: list[list[int]], max_bytes: int
) -> None:
    budget = MemoryBudget(max_bytes)

    with ExitStack() as open_reservations:
        for number, pieces in enumerate(requests):
            with suppress(Overloaded):
                reservation = open_reservations.enter_context(
                    budget.reserve(AgentName("0042", str(number % 3)), busy)
                )
                for piece in pieces:
                    with suppress(MemoryBudgetExceeded):
                        reservation.add(piece)
            assert budget.reserved_bytes <= max_bytes

    assert budget.reserved_bytes == 0


@given(first=st.integers(0, MIB), more=SIZES)
def test_failed_reservation_leaves_the_holding_unchanged(first: int, more: int) -> None:
    budget = MemoryBudget(REQUEST_BYTES + first)

    with budget.reserve(ONE, busy) as reservation:
        reservation.add(first)
        with suppress(MemoryBudgetExceeded):
            reservation.add(more + 1)
        assert budget.reserved_bytes == reservation.bytes == REQUEST_BYTES + first


def test_thread_of_a_cancelled_request_reserves_nothing_more() -> None:
    """Nobody would release it: a decompression goes on in its thread until it asks for more."""
    budget = MemoryBudget()
    with budget.reserve(ONE, busy) as reservation:
        reservation.add(MIB)

    with pytest.raises(MemoryBudgetExceeded):
        reservation.add(MIB)

    assert (budget.reserved_bytes, reservation.bytes) == (0, 0)


def test_request_without_room_is_rejected_with_retry_after() -> None:
    with pytest.raises(Overloaded) as refused, MemoryBudget(REQUEST_BYTES - 1).reserve(ONE, busy):
        pass

    assert refused.value.retry_after_seconds == 7


def test_large_bodies_leave_room_for_bodies_of_usual_size() -> None:
    budget = MemoryBudget(16 * MIB)

    with ExitStack() as open_reservations:
        for number in range(10):
            large = open_reservations.enter_context(
                budget.reserve(AgentName("0042", str(number)), busy)
            )
            with suppress(MemoryBudgetExceeded):
                large.add(3 * MIB)
        usual = open_reservations.enter_context(budget.reserve(OTHER, busy))
        usual.add(2 * MIB - REQUEST_BYTES)

        assert usual.bytes == 2 * MIB


def test_largest_body_fits_compressed_and_decompressed_when_alone() -> None:
    with MemoryBudget().reserve(ONE, busy) as reservation:
        reservation.add(MAX_BODY_BYTES)
        reservation.add(MAX_BODY_BYTES)


def test_one_agent_cannot_exhaust_the_budget() -> None:
    budget = MemoryBudget(100 * MIB)

    with ExitStack() as open_reservations:
        for _ in range(MAX_REQUESTS_PER_AGENT):
            open_reservations.enter_context(budget.reserve(ONE, busy))
        with pytest.raises(OverItsShare):
            open_reservations.enter_context(budget.reserve(ONE, busy))
        open_reservations.enter_context(budget.reserve(OTHER, busy))

    with budget.reserve(ONE, busy):
        pass


def test_bytes_of_one_agent_leave_room_for_large_bodies_of_others() -> None:
    budget = MemoryBudget()

    with ExitStack() as open_reservations:
        for _ in range(MAX_REQUESTS_PER_AGENT):
            hog = open_reservations.enter_context(budget.reserve(ONE, busy))
            with suppress(OverItsShare):
                hog.add(MAX_BODY_BYTES)
        with pytest.raises(OverItsShare):
            hog.add(MAX_BODY_BYTES)
        other = open_reservations.enter_context(budget.reserve(OTHER, busy))
        other.add(2 * MAX_BODY_BYTES)

    assert budget.reserved_bytes == 0
