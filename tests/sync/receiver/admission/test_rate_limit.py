"""Staggered Retry-After values: rejected callers return one after the other."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.admission.rate_limit import RetryAfterAllocator

SLOT_SECONDS = st.floats(0.001, 10)
PAUSES = st.lists(st.floats(0, 5), min_size=1, max_size=60)
LONGEST_SECONDS = 3600.0
# Float error of a sum.
_CLOSE = 1e-6


def retries(
    allocator: RetryAfterAllocator, pauses: list[float], slot_seconds: float
) -> list[tuple[float, int]]:
    """Reject a caller after each pause; return the time and the Retry-After of each."""
    moments = itertools.accumulate(pauses)
    return [(now, allocator.allocate(now, slot_seconds)) for now in moments]


@given(pauses=PAUSES, slot_seconds=SLOT_SECONDS)
def test_no_time_window_has_more_retries_than_can_be_served(
    pauses: list[float], slot_seconds: float
) -> None:
    """Up to one more, and those of one second, as Retry-After is in whole seconds."""
    comings = sorted(
        now + wait
        for now, wait in retries(RetryAfterAllocator(LONGEST_SECONDS), pauses, slot_seconds)
    )

    for first, last in itertools.combinations(range(len(comings)), 2):
        window = comings[last] - comings[first]
        assert last - first + 1 <= (window + 1) / slot_seconds + 1 + _CLOSE


@given(pauses=PAUSES, slot_seconds=SLOT_SECONDS)
def test_wait_is_bounded_by_the_slots_already_allocated(
    pauses: list[float], slot_seconds: float
) -> None:
    comings: list[float] = []
    for now, wait in retries(RetryAfterAllocator(LONGEST_SECONDS), pauses, slot_seconds):
        before = sum(coming + slot_seconds > now for coming in comings)
        assert wait <= max(1, math.ceil(before * slot_seconds + _CLOSE))
        comings.append(now + wait)


@given(pauses=PAUSES, slot_seconds=SLOT_SECONDS)
def test_slot_expires_with_its_time(pauses: list[float], slot_seconds: float) -> None:
    allocator = RetryAfterAllocator(LONGEST_SECONDS)
    busy = retries(allocator, pauses, slot_seconds)
    quiet_from = max(now + wait for now, wait in busy) + slot_seconds

    assert allocator.allocate(quiet_from, slot_seconds) == 1


@given(pauses=PAUSES, slot_seconds=st.floats(60, 10_000), longest=st.integers(1, 3600))
def test_wait_never_exceeds_the_longest(
    pauses: list[float], slot_seconds: float, longest: int
) -> None:
    waits = [wait for _, wait in retries(RetryAfterAllocator(longest), pauses, slot_seconds)]

    assert all(1 <= wait <= longest for wait in waits)


def test_excess_beyond_the_longest_wait_is_spread_evenly() -> None:
    waits = [wait for _, wait in retries(RetryAfterAllocator(100), [0.0] * 1000, 1)]

    in_each_second = [waits.count(second) for second in range(51, 101)]
    assert max(in_each_second) - min(in_each_second) <= 1


@given(now=st.floats(0, 1e6), later=st.floats(0, 3000), slot_seconds=SLOT_SECONDS)
def test_first_slot_is_not_before_capacity_is_available(
    now: float, later: float, slot_seconds: float
) -> None:
    wait = RetryAfterAllocator(LONGEST_SECONDS).allocate(now, slot_seconds, not_before=now + later)

    assert later - _CLOSE <= wait <= max(1, later + 1)
