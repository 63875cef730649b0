"""Token bucket with a share per sender; and staggered Retry-After values, one slot a sender."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.admission.rate_limit import (
    BURST_SECONDS,
    SENDER_SHARE,
    FairTokenBucket,
    RateDecision,
    RetryAfterAllocator,
)

SLOT_SECONDS = st.floats(0.001, 10)
PAUSES = st.lists(st.floats(0, 5), min_size=1, max_size=60)
LONGEST_SECONDS = 3600.0
RATES = st.integers(1, 10_000)
# Requests: sender, amount relative to the rate, pause before it.
OFFERS = st.lists(
    st.tuples(st.sampled_from("abcdefghij"), st.floats(0.001, 20), st.floats(0, 2)), max_size=80
)
# Float error of a sum.
_CLOSE = 1e-6


def admitted(bucket: FairTokenBucket, sender: str, amount: float, now: float) -> bool:
    """Ask for an amount and take it; return whether it was admitted."""
    if bucket.ask(sender, now) is not RateDecision.ADMITTED:
        return False
    bucket.take(sender, amount, now)
    return True


@given(offers=OFFERS, rate=RATES)
def test_admitted_amounts_never_exceed_the_rate_by_more_than_a_burst_and_two_overdrafts(
    offers: Sequence[tuple[str, float, float]], rate: int
) -> None:
    """That of the largest debt, and that of the sender that was admitted as it ran empty."""
    bucket, now = FairTokenBucket(rate, 0), 0.0
    taken, overdrafts = 0.0, sorted((size * rate for _, size, _ in offers), reverse=True)
    for sender, size, pause in offers:
        now += pause
        if admitted(bucket, sender, size * rate, now):
            taken += size * rate
        most = rate * (now + BURST_SECONDS) + sum(overdrafts[:2])
        assert taken <= most * (1 + _CLOSE)


@given(offers=OFFERS, rate=RATES)
def test_one_sender_never_gets_another_refused(
    offers: Sequence[tuple[str, float, float]], rate: int
) -> None:
    """Another sender has its share, for any amounts and rate of requests."""
    bucket, now = FairTokenBucket(rate, 0), 0.0
    share = rate * SENDER_SHARE
    honest_at = 0.0
    for number, (_, size, pause) in enumerate(offers):
        now += pause
        if admitted(bucket, "hog", size * rate, now) and number % 3 == 0:
            bucket.give_back("hog", bucket.take("hog", size * rate, now))
        if now >= honest_at:
            assert admitted(bucket, "honest", 0.1 * share, now)
            honest_at = now + 0.2


@given(size=st.floats(0.2, 5), rate=RATES)
def test_sender_that_is_alone_gets_the_whole_rate(size: float, rate: int) -> None:
    bucket, now, taken = FairTokenBucket(rate, 0), 0.0, 0.0
    while now < 100:
        if admitted(bucket, "alone", size * rate, now):
            taken += size * rate
        now += 0.05

    assert taken >= 0.9 * 100 * rate - size * rate


@given(rate=RATES, large=st.floats(0.5, 20))
def test_sender_is_held_to_its_share_while_another_one_sends(rate: int, large: float) -> None:
    bucket, now, taken = FairTokenBucket(rate, 0), 0.0, 0.0
    while now < 100:
        admitted(bucket, "other", 0.001 * rate, now)
        if admitted(bucket, "hog", large * rate, now):
            taken += large * rate
        now += 0.5

    assert taken <= rate * SENDER_SHARE * 100 + (large + 1) * rate


@given(offers=OFFERS, rate=RATES)
def test_sender_that_waits_as_told_is_admitted(
    offers: Sequence[tuple[str, float, float]], rate: int
) -> None:
    bucket, now = FairTokenBucket(rate, 0), 0.0
    for sender, size, pause in offers:
        now += pause
        match bucket.ask(sender, now):
            case RateDecision.OVER_ITS_SHARE:
                now += bucket.wait_seconds(sender, now) + _CLOSE
            case RateDecision.OVERLOADED:
                now = bucket.refilled_at(now) + _CLOSE
        assert admitted(bucket, sender, size * rate, now)


@given(amounts=st.lists(st.floats(0.1, 5), min_size=1, max_size=40), later=st.floats(0, 100_000))
def test_repaid_bucket_admits_everybody(amounts: list[float], later: float) -> None:
    bucket = FairTokenBucket(1000, 0)
    for number, amount in enumerate(amounts):
        admitted(bucket, str(number), amount * 1000, 0)

    now = sum(amounts) / SENDER_SHARE + later
    assert all(
        bucket.ask(str(number), now) is RateDecision.ADMITTED for number in range(len(amounts))
    )


def test_failed_request_is_charged_to_its_sender_only() -> None:
    bucket = FairTokenBucket(1000, 0)
    bucket.ask("other", 0)
    for _ in range(2):
        bucket.ask("failing", 0)
        bucket.give_back("failing", bucket.take("failing", 100_000, 0))

    assert bucket.ask("failing", 1) is RateDecision.OVER_ITS_SHARE
    assert bucket.refilled_at(1) == 1
    assert bucket.ask("other", 1) is RateDecision.ADMITTED


def test_unlimited_bucket_admits_everything() -> None:
    bucket = FairTokenBucket(0, 0)

    assert all(admitted(bucket, "a", 1e9, 0) for _ in range(10))


def test_senders_that_owe_nothing_are_forgotten() -> None:
    bucket = FairTokenBucket(1000, 0)
    for number in range(10_000):
        admitted(bucket, str(number), 1, number)

    assert len(bucket) <= 2048


def retries(
    allocator: RetryAfterAllocator, pauses: list[float], slot_seconds: float
) -> list[tuple[float, int]]:
    """Reject a new sender after each pause; return the time and the Retry-After of each."""
    moments = itertools.accumulate(pauses)
    return [
        (now, allocator.allocate(number, now, slot_seconds)) for number, now in enumerate(moments)
    ]


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

    assert allocator.allocate("late", quiet_from, slot_seconds) == 1


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
    allocator = RetryAfterAllocator(LONGEST_SECONDS)
    wait = allocator.allocate("a", now, slot_seconds, not_before=now + later)

    assert later - _CLOSE <= wait <= max(1, later + 1)


@given(asked=st.lists(st.floats(0, 0.2), max_size=50), slot_seconds=st.floats(1, 100))
def test_sender_that_asks_again_and_again_keeps_its_one_slot(
    asked: list[float], slot_seconds: float
) -> None:
    """Its retries cost the next sender nothing."""
    allocator = RetryAfterAllocator(LONGEST_SECONDS)
    allocator.allocate("first", 0, slot_seconds)
    slot = allocator.allocate("impatient", 0, slot_seconds)
    moments = [at for at in itertools.accumulate(asked) if at < slot_seconds - 1]

    again = [allocator.allocate("impatient", at, slot_seconds) for at in moments]

    assert all(abs(at + wait - slot) <= 1 for at, wait in zip(moments, again, strict=True))
    next_one = allocator.allocate("next", 0, slot_seconds)
    assert next_one == pytest.approx(2 * slot_seconds, abs=1)


def test_past_slots_are_forgotten() -> None:
    allocator = RetryAfterAllocator(LONGEST_SECONDS)
    for number in range(10_000):
        allocator.allocate(number, number, 0.1)

    assert len(allocator) <= 2048
