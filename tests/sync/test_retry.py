"""When to try again: waits that grow to a cap, differ between stores, and obey central."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync.outcomes import Hold, HoldReason, Trouble, TryLater
from sync.retry import (
    LINE_CAP_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    Backoff,
    RetryRules,
    retry_after,
    spread,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FAR_AND_WIDE = datetime(1970, 1, 2), datetime(9998, 12, 31)  # noqa: DTZ001 - hypothesis adds UTC
LINE_TROUBLES = [Trouble.NO_LINE, Trouble.CLOCK]
HELD = Hold(HoldReason.UNAUTHORIZED, "the token is not accepted", 401)

failures = st.integers(1, 10_000).map(Backoff)
shares = st.floats(0, 1, exclude_max=True)
outcomes = st.sampled_from([HELD, *(TryLater(trouble, "") for trouble in Trouble)])
moments = st.datetimes(*FAR_AND_WIDE, timezones=st.just(UTC))
anything = st.one_of(st.text(), st.integers().map(str), st.floats().map(str))


@st.composite
def rule_sets(draw: st.DrawFn) -> RetryRules:
    base_seconds = draw(st.floats(0.1, 3_600))
    cap_seconds = draw(st.floats(base_seconds, 86_400))
    return RetryRules(base_seconds, cap_seconds, draw(shares))


def wait(backoff: Backoff, outcome: Hold | TryLater, rules: RetryRules, share: float) -> float:
    return backoff.wait_seconds(outcome, rules, lambda: share)


def asking(seconds: float) -> TryLater:
    return TryLater(Trouble.BUSY, "429", retry_after_seconds=seconds)


@given(backoff=failures, outcome=outcomes, rules=rule_sets(), share=shares)
def test_no_wait_is_above_the_cap_or_vanishes(
    backoff: Backoff, outcome: Hold | TryLater, rules: RetryRules, share: float
) -> None:
    seconds = wait(backoff, outcome, rules, share)
    assert min(rules.base_seconds, LINE_CAP_SECONDS) / 2 <= seconds <= rules.cap_seconds


@given(backoff=failures, outcome=outcomes, rules=rule_sets(), one=shares, other=shares)
def test_two_stores_wait_differently_however_often_both_have_failed(
    backoff: Backoff, outcome: Hold | TryLater, rules: RetryRules, one: float, other: float
) -> None:
    assume(abs(one - other) > 0.001)
    first, second = (wait(backoff, outcome, rules, share) for share in (one, other))
    assert first != second


@given(outcome=outcomes, rules=rule_sets(), share=shares)
def test_full_jitter_is_left_at_the_cap(
    outcome: Hold | TryLater, rules: RetryRules, share: float
) -> None:
    often = Backoff(10_000)
    longest, shortest = (wait(often, outcome, rules, share) for share in (1.0, 0.0))
    assert longest - shortest >= longest / 2


@given(backoff=failures, outcome=outcomes, rules=rule_sets(), share=shares)
def test_one_more_failure_never_makes_a_wait_shorter(
    backoff: Backoff, outcome: Hold | TryLater, rules: RetryRules, share: float
) -> None:
    longer = wait(backoff.failed(), outcome, rules, share)
    assert longer >= wait(backoff, outcome, rules, share)


def test_waits_double_from_the_first_one_to_the_cap() -> None:
    rules, backoff, waits = RetryRules(1.0, 60.0, slot=0.5), Backoff(), []
    for _ in range(8):
        backoff = backoff.failed()
        waits.append(wait(backoff, HELD, rules, 1.0))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("trouble", LINE_TROUBLES)
@given(backoff=failures, rules=rule_sets(), share=shares)
def test_line_that_comes_back_is_noticed_within_seconds(
    trouble: Trouble, backoff: Backoff, rules: RetryRules, share: float
) -> None:
    assert wait(backoff, TryLater(trouble, ""), rules, share) <= LINE_CAP_SECONDS


@given(asked=st.floats(0, 1e12), backoff=failures, rules=rule_sets(), share=shares)
def test_central_is_never_asked_before_the_moment_it_named(
    asked: float, backoff: Backoff, rules: RetryRules, share: float
) -> None:
    seconds = wait(backoff, asking(asked), rules, share)
    assert seconds >= min(asked, MAX_RETRY_AFTER_SECONDS)


@given(asked=st.floats(0, 1e12), backoff=failures, rules=rule_sets(), share=shares)
def test_what_central_asks_for_is_honoured_up_to_an_hour_and_the_spread(
    asked: float, backoff: Backoff, rules: RetryRules, share: float
) -> None:
    longest = MAX_RETRY_AFTER_SECONDS + rules.cap_seconds
    assert wait(backoff, asking(asked), rules, share) <= longest


@given(asked=st.floats(0, 0.09), backoff=failures, rules=rule_sets(), share=shares)
def test_central_that_asks_for_no_wait_is_not_hammered(
    asked: float, backoff: Backoff, rules: RetryRules, share: float
) -> None:
    own = wait(backoff, TryLater(Trouble.BUSY, ""), rules, share)
    assert wait(backoff, asking(asked), rules, share) == max(asked, own)


@given(asked=st.floats(1, 3_600), slots=st.tuples(shares, shares))
def test_stores_that_were_told_the_same_moment_come_in_their_own_slots(
    asked: float, slots: tuple[float, float]
) -> None:
    assume(abs(slots[0] - slots[1]) > 0.001)
    first, second = (spread(asked, RetryRules(1, 60, slot)) for slot in slots)
    assert (first < second) == (slots[0] < slots[1])


def test_failure_is_probed_and_success_is_not() -> None:
    assert not Backoff().is_probing
    assert Backoff().failed().is_probing


@given(seconds=st.integers(0, 10**30))
def test_seconds_are_read_and_capped_at_an_hour(seconds: int) -> None:
    assert retry_after(f" {seconds} ", None, NOW) == min(seconds, MAX_RETRY_AFTER_SECONDS)


@given(seconds=st.integers(-(10**9), 10**9), answered_at=moments, now=moments)
def test_date_is_counted_from_the_answers_own_date_whatever_our_clock_says(
    seconds: int, answered_at: datetime, now: datetime
) -> None:
    answered_at = answered_at.replace(microsecond=0)
    try:
        named = answered_at + timedelta(seconds=seconds)
    except OverflowError:
        return
    date = format_datetime(answered_at, usegmt=True)
    assert retry_after(format_datetime(named, usegmt=True), date, now) == min(
        max(seconds, 0), MAX_RETRY_AFTER_SECONDS
    )


def test_date_is_counted_from_our_clock_where_the_answer_has_none() -> None:
    named = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after(named, None, NOW) == 90.0
    assert retry_after(named, "nonsense", NOW) == 90.0


@pytest.mark.parametrize("header", ["-5", "soon", "", "1.5", "١٢", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_what_is_neither_seconds_nor_a_date_says_nothing(header: str) -> None:
    assert retry_after(header, None, NOW) is None


def test_missing_header_says_nothing() -> None:
    assert retry_after(None, None, NOW) is None


@given(header=anything, date=st.none() | anything)
def test_whatever_the_headers_say_it_is_nothing_or_up_to_an_hour(
    header: str, date: str | None
) -> None:
    seconds = retry_after(header, date, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS
