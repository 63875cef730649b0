"""Backoff: exponential growth to a cap, jitter between stores, Retry-After."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync.delivery.backoff import (
    AMBIGUOUS_FAILURES,
    MAX_RETRY_AFTER_SECONDS,
    NETWORK_DOWN_CAP_SECONDS,
    Backoff,
    machine_slot,
)
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater

# Causes that can be the store's network or head office, and those of head office alone.
AMBIGUOUS = [FailureCause.NO_CONNECTION, FailureCause.WRONG_CLOCK]
OF_HEAD_OFFICE = [
    cause for cause in FailureCause if cause not in {FailureCause.NETWORK_DOWN, *AMBIGUOUS}
]
BLOCKED = Blocked(BlockedReason.UNAUTHORIZED, "the token is not accepted", 401)
USUAL = Backoff(1.0, 60.0, slot=0.5, random=lambda: 0.0)

failures = st.integers(1, 10_000)
shares = st.floats(0, 1, exclude_max=True)
outcomes = st.sampled_from([BLOCKED, *(RetryLater(cause, "") for cause in FailureCause)])


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    base_seconds = draw(st.floats(0.1, 3_600))
    cap_seconds = draw(st.floats(base_seconds, 86_400))
    return Backoff(base_seconds, cap_seconds, draw(shares), lambda: 0.0)


def wait(times: int, outcome: Blocked | RetryLater, backoff: Backoff, share: float = 0.0) -> float:
    """Return the wait after that many failures, with a random number of `share`."""
    return replace(backoff, random=lambda: share).wait_seconds(times, outcome)


def asking(seconds: float, status: int = 429) -> RetryLater:
    return RetryLater(FailureCause.OVERLOADED, "busy", seconds, status)


@given(times=failures, outcome=outcomes, backoff=backoffs(), share=shares)
def test_backoff_stays_between_half_the_base_and_the_cap(
    times: int, outcome: Blocked | RetryLater, backoff: Backoff, share: float
) -> None:
    seconds = wait(times, outcome, backoff, share)
    assert min(backoff.base_seconds, NETWORK_DOWN_CAP_SECONDS) / 2 <= seconds <= backoff.cap_seconds


@given(times=failures, outcome=outcomes, backoff=backoffs(), one=shares, other=shares)
def test_jitter_separates_two_stores_after_any_number_of_failures(
    times: int, outcome: Blocked | RetryLater, backoff: Backoff, one: float, other: float
) -> None:
    assume(abs(one - other) > 0.001)
    first, second = (wait(times, outcome, backoff, share) for share in (one, other))
    assert first != second


@given(outcome=outcomes, backoff=backoffs(), share=shares)
def test_jitter_is_full_at_the_cap(
    outcome: Blocked | RetryLater, backoff: Backoff, share: float
) -> None:
    longest, shortest = (wait(10_000, outcome, backoff, share) for share in (1.0, 0.0))
    assert longest - shortest >= longest / 2


@given(times=failures, outcome=outcomes, backoff=backoffs(), share=shares)
def test_backoff_never_shrinks_with_another_failure(
    times: int, outcome: Blocked | RetryLater, backoff: Backoff, share: float
) -> None:
    longer = wait(times + 1, outcome, backoff, share)
    assert longer >= wait(times, outcome, backoff, share)


def test_backoff_doubles_from_the_base_to_the_cap() -> None:
    waits = [wait(times, BLOCKED, USUAL, 1.0) for times in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@given(times=failures, backoff=backoffs(), share=shares)
def test_backoff_of_the_stores_own_network_is_capped_at_seconds(
    times: int, backoff: Backoff, share: float
) -> None:
    assert (
        wait(times, RetryLater(FailureCause.NETWORK_DOWN, ""), backoff, share)
        <= NETWORK_DOWN_CAP_SECONDS
    )


@pytest.mark.parametrize("cause", AMBIGUOUS)
@given(times=st.integers(1, AMBIGUOUS_FAILURES), backoff=backoffs(), share=shares)
def test_ambiguous_failure_first_counts_as_the_stores_network(
    cause: FailureCause, times: int, backoff: Backoff, share: float
) -> None:
    assert wait(times, RetryLater(cause, ""), backoff, share) <= NETWORK_DOWN_CAP_SECONDS


@pytest.mark.parametrize("cause", AMBIGUOUS)
def test_ambiguous_failure_later_counts_as_head_office(cause: FailureCause) -> None:
    longest = [
        wait(AMBIGUOUS_FAILURES + more, RetryLater(cause, ""), USUAL, 1.0) for more in range(6)
    ]
    assert longest == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("cause", OF_HEAD_OFFICE)
@given(share=shares)
def test_retries_of_a_chain_spread_over_a_minute_when_head_office_is_down(
    cause: FailureCause, share: float
) -> None:
    """With a wait of 5 s, ten thousand stores would send 2,000 requests per second."""
    seconds = wait(7, RetryLater(cause, ""), USUAL, share)
    assert seconds == pytest.approx(0.5 + 59.5 * share)


@given(asked=st.floats(0, 1e12), times=failures, backoff=backoffs(), share=shares)
def test_retry_after_is_a_lower_bound(
    asked: float, times: int, backoff: Backoff, share: float
) -> None:
    seconds = wait(times, asking(asked), backoff, share)
    assert seconds >= min(asked, MAX_RETRY_AFTER_SECONDS)


@given(asked=st.floats(0, 1e12), times=failures, backoff=backoffs(), share=shares)
def test_retry_after_is_capped_at_an_hour_plus_the_spread(
    asked: float, times: int, backoff: Backoff, share: float
) -> None:
    longest = MAX_RETRY_AFTER_SECONDS + backoff.cap_seconds
    assert wait(times, asking(asked), backoff, share) <= longest


@given(asked=st.floats(0, 0.09), times=failures, backoff=backoffs(), share=shares)
def test_retry_after_below_the_base_does_not_shorten_the_backoff(
    asked: float, times: int, backoff: Backoff, share: float
) -> None:
    own = wait(times, RetryLater(FailureCause.OVERLOADED, ""), backoff, share)
    assert wait(times, asking(asked), backoff, share) == max(asked, own)


@given(asked=st.floats(0.1, 1e12), times=failures, backoff=backoffs(), share=shares)
def test_shared_retry_after_of_a_503_does_not_shorten_the_backoff(
    asked: float, times: int, backoff: Backoff, share: float
) -> None:
    """If it did, a head office that answers 5 for half an hour would get retries every 5 s."""
    own = wait(times, RetryLater(FailureCause.OVERLOADED, "", http_status=503), backoff, share)
    assert wait(times, asking(asked, 503), backoff, share) >= own


@given(
    asked=st.floats(1, 3_600),
    counts=st.tuples(failures, failures),
    randoms=st.tuples(shares, shares),
)
def test_allocated_retry_after_of_a_429_ignores_earlier_failures(
    asked: float, counts: tuple[int, int], randoms: tuple[float, float]
) -> None:
    first, second = (
        wait(times, asking(asked), USUAL, share)
        for times, share in zip(counts, randoms, strict=True)
    )
    assert first == second


@given(store=st.text(), till=st.text())
def test_slot_of_a_machine_is_stable(store: str, till: str) -> None:
    assert 0 <= machine_slot(store, till) < 1
    assert machine_slot(store, till) == machine_slot(store, till)


def test_slots_of_a_chain_are_evenly_distributed() -> None:
    slots = [machine_slot(f"{store:05}", "till-1") for store in range(10_000)]
    tenths = [sum(tenth <= slot * 10 < tenth + 1 for slot in slots) for tenth in range(10)]
    assert min(tenths) > 900
    assert max(tenths) < 1_100


@given(asked=st.floats(1, 3_600), slots=st.tuples(shares, shares))
def test_same_retry_after_is_spread_by_slot(asked: float, slots: tuple[float, float]) -> None:
    assume(abs(slots[0] - slots[1]) > 0.001)
    first, second = (wait(1, asking(asked), replace(USUAL, slot=slot)) for slot in slots)
    assert (first < second) == (slots[0] < slots[1])
