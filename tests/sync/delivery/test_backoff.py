"""Backoff: exponential growth to a cap, jitter between stores, Retry-After."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync.delivery.backoff import (
    AMBIGUOUS_FAILURES,
    MAX_RETRY_AFTER_SECONDS,
    NETWORK_DOWN_CAP_SECONDS,
    Backoff,
    BackoffRules,
    machine_slot,
    spread,
)
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater

# Causes that can be the store's network or head office, and those of head office alone.
AMBIGUOUS = [FailureCause.NO_CONNECTION, FailureCause.WRONG_CLOCK]
OF_HEAD_OFFICE = [
    cause for cause in FailureCause if cause not in {FailureCause.NETWORK_DOWN, *AMBIGUOUS}
]
BLOCKED = Blocked(BlockedReason.UNAUTHORIZED, "the token is not accepted", 401)

failures = st.integers(1, 10_000).map(Backoff)
shares = st.floats(0, 1, exclude_max=True)
outcomes = st.sampled_from([BLOCKED, *(RetryLater(cause, "") for cause in FailureCause)])


@st.composite
def rule_sets(draw: st.DrawFn) -> BackoffRules:
    base_seconds = draw(st.floats(0.1, 3_600))
    cap_seconds = draw(st.floats(base_seconds, 86_400))
    return BackoffRules(base_seconds, cap_seconds, draw(shares))


def wait(
    backoff: Backoff, outcome: Blocked | RetryLater, rules: BackoffRules, share: float
) -> float:
    return backoff.wait_seconds(outcome, rules, lambda: share)


def asking(seconds: float, status: int = 429) -> RetryLater:
    return RetryLater(FailureCause.OVERLOADED, "busy", seconds, status)


@given(backoff=failures, outcome=outcomes, rules=rule_sets(), share=shares)
def test_backoff_stays_between_half_the_base_and_the_cap(
    backoff: Backoff, outcome: Blocked | RetryLater, rules: BackoffRules, share: float
) -> None:
    seconds = wait(backoff, outcome, rules, share)
    assert min(rules.base_seconds, NETWORK_DOWN_CAP_SECONDS) / 2 <= seconds <= rules.cap_seconds


@given(backoff=failures, outcome=outcomes, rules=rule_sets(), one=shares, other=shares)
def test_jitter_separates_two_stores_after_any_number_of_failures(
    backoff: Backoff, outcome: Blocked | RetryLater, rules: BackoffRules, one: float, other: float
) -> None:
    assume(abs(one - other) > 0.001)
    first, second = (wait(backoff, outcome, rules, share) for share in (one, other))
    assert first != second


@given(outcome=outcomes, rules=rule_sets(), share=shares)
def test_jitter_is_full_at_the_cap(
    outcome: Blocked | RetryLater, rules: BackoffRules, share: float
) -> None:
    often = Backoff(10_000)
    longest, shortest = (wait(often, outcome, rules, share) for share in (1.0, 0.0))
    assert longest - shortest >= longest / 2


@given(backoff=failures, outcome=outcomes, rules=rule_sets(), share=shares)
def test_backoff_never_shrinks_with_another_failure(
    backoff: Backoff, outcome: Blocked | RetryLater, rules: BackoffRules, share: float
) -> None:
    longer = wait(backoff.failed(), outcome, rules, share)
    assert longer >= wait(backoff, outcome, rules, share)


def test_backoff_doubles_from_the_base_to_the_cap() -> None:
    rules, backoff, waits = BackoffRules(1.0, 60.0, slot=0.5), Backoff(), []
    for _ in range(8):
        backoff = backoff.failed()
        waits.append(wait(backoff, BLOCKED, rules, 1.0))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@given(backoff=failures, rules=rule_sets(), share=shares)
def test_backoff_of_the_stores_own_network_is_capped_at_seconds(
    backoff: Backoff, rules: BackoffRules, share: float
) -> None:
    assert (
        wait(backoff, RetryLater(FailureCause.NETWORK_DOWN, ""), rules, share)
        <= NETWORK_DOWN_CAP_SECONDS
    )


@pytest.mark.parametrize("cause", AMBIGUOUS)
@given(times=st.integers(1, AMBIGUOUS_FAILURES), rules=rule_sets(), share=shares)
def test_ambiguous_failure_first_counts_as_the_stores_network(
    cause: FailureCause, times: int, rules: BackoffRules, share: float
) -> None:
    assert wait(Backoff(times), RetryLater(cause, ""), rules, share) <= NETWORK_DOWN_CAP_SECONDS


@pytest.mark.parametrize("cause", AMBIGUOUS)
def test_ambiguous_failure_later_counts_as_head_office(cause: FailureCause) -> None:
    rules = BackoffRules(1.0, 60.0, slot=0.5)
    longest = [
        wait(Backoff(AMBIGUOUS_FAILURES + more), RetryLater(cause, ""), rules, 1.0)
        for more in range(6)
    ]
    assert longest == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("cause", OF_HEAD_OFFICE)
@given(share=shares)
def test_retries_of_a_chain_spread_over_a_minute_when_head_office_is_down(
    cause: FailureCause, share: float
) -> None:
    """With a wait of 5 s, ten thousand stores would send 2,000 requests per second."""
    seconds = wait(Backoff(7), RetryLater(cause, ""), BackoffRules(1.0, 60.0, slot=0.5), share)
    assert seconds == pytest.approx(0.5 + 59.5 * share)


@given(asked=st.floats(0, 1e12), backoff=failures, rules=rule_sets(), share=shares)
def test_retry_after_is_a_lower_bound(
    asked: float, backoff: Backoff, rules: BackoffRules, share: float
) -> None:
    seconds = wait(backoff, asking(asked), rules, share)
    assert seconds >= min(asked, MAX_RETRY_AFTER_SECONDS)


@given(asked=st.floats(0, 1e12), backoff=failures, rules=rule_sets(), share=shares)
def test_retry_after_is_capped_at_an_hour_plus_the_spread(
    asked: float, backoff: Backoff, rules: BackoffRules, share: float
) -> None:
    longest = MAX_RETRY_AFTER_SECONDS + rules.cap_seconds
    assert wait(backoff, asking(asked), rules, share) <= longest


@given(asked=st.floats(0, 0.09), backoff=failures, rules=rule_sets(), share=shares)
def test_retry_after_below_the_base_does_not_shorten_the_backoff(
    asked: float, backoff: Backoff, rules: BackoffRules, share: float
) -> None:
    own = wait(backoff, RetryLater(FailureCause.OVERLOADED, ""), rules, share)
    assert wait(backoff, asking(asked), rules, share) == max(asked, own)


@given(asked=st.floats(0.1, 1e12), backoff=failures, rules=rule_sets(), share=shares)
def test_shared_retry_after_of_a_503_does_not_shorten_the_backoff(
    asked: float, backoff: Backoff, rules: BackoffRules, share: float
) -> None:
    """If it did, a head office that answers 5 for half an hour would get retries every 5 s."""
    own = wait(backoff, RetryLater(FailureCause.OVERLOADED, "", http_status=503), rules, share)
    assert wait(backoff, asking(asked, 503), rules, share) >= own


@given(
    asked=st.floats(1, 3_600),
    backoffs=st.tuples(failures, failures),
    randoms=st.tuples(shares, shares),
)
def test_allocated_retry_after_of_a_429_ignores_earlier_failures(
    asked: float, backoffs: tuple[Backoff, Backoff], randoms: tuple[float, float]
) -> None:
    rules = BackoffRules(1.0, 60.0, slot=0.5)
    first, second = (
        wait(backoff, asking(asked), rules, share)
        for backoff, share in zip(backoffs, randoms, strict=True)
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
    first, second = (spread(asked, BackoffRules(1, 60, slot)) for slot in slots)
    assert (first < second) == (slots[0] < slots[1])


def test_failure_is_followed_by_a_probe() -> None:
    assert not Backoff().is_probing
    assert Backoff().failed().is_probing
