"""Staggered Retry-After values: rejected callers return one after the other."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.admission.retry_slots import RetryAfterAllocator

EACH = st.floats(0.001, 10)
PAUSES = st.lists(st.floats(0, 5), min_size=1, max_size=60)
LONGEST_SECONDS = 3600.0
# Float error of a sum.
_CLOSE = 1e-6


def told(
    bookings: RetryAfterAllocator, pauses: list[float], each: float
) -> list[tuple[float, int]]:
    """Reject a caller after each pause; return the time and the Retry-After of each."""
    moments = itertools.accumulate(pauses)
    return [(now, bookings.book(now, each)) for now in moments]


@given(pauses=PAUSES, each=EACH)
def test_no_time_window_has_more_retries_than_can_be_served(
    pauses: list[float], each: float
) -> None:
    """Up to one more, and those of one second, as Retry-After is in whole seconds."""
    comings = sorted(
        now + wait for now, wait in told(RetryAfterAllocator(LONGEST_SECONDS), pauses, each)
    )

    for first, last in itertools.combinations(range(len(comings)), 2):
        window = comings[last] - comings[first]
        assert last - first + 1 <= (window + 1) / each + 1 + _CLOSE


@given(pauses=PAUSES, each=EACH)
def test_wait_is_bounded_by_the_slots_already_allocated(pauses: list[float], each: float) -> None:
    comings: list[float] = []
    for now, wait in told(RetryAfterAllocator(LONGEST_SECONDS), pauses, each):
        before = sum(coming + each > now for coming in comings)
        assert wait <= max(1, math.ceil(before * each + _CLOSE))
        comings.append(now + wait)


@given(pauses=PAUSES, each=EACH)
def test_slot_expires_with_its_time(pauses: list[float], each: float) -> None:
    bookings = RetryAfterAllocator(LONGEST_SECONDS)
    busy = told(bookings, pauses, each)
    quiet_from = max(now + wait for now, wait in busy) + each

    assert bookings.book(quiet_from, each) == 1


@given(pauses=PAUSES, each=st.floats(60, 10_000), longest=st.integers(1, 3600))
def test_wait_never_exceeds_the_longest(pauses: list[float], each: float, longest: int) -> None:
    waits = [wait for _, wait in told(RetryAfterAllocator(longest), pauses, each)]

    assert all(1 <= wait <= longest for wait in waits)


def test_excess_beyond_the_longest_wait_is_spread_evenly() -> None:
    waits = [wait for _, wait in told(RetryAfterAllocator(100), [0.0] * 1000, 1)]

    in_each_second = [waits.count(second) for second in range(51, 101)]
    assert max(in_each_second) - min(in_each_second) <= 1


@given(now=st.floats(0, 1e6), later=st.floats(0, 3000), each=EACH)
def test_first_slot_is_not_before_capacity_is_available(
    now: float, later: float, each: float
) -> None:
    wait = RetryAfterAllocator(LONGEST_SECONDS).book(now, each, not_before=now + later)

    assert later - _CLOSE <= wait <= max(1, later + 1)
