"""When to try again: waits that grow to a cap, differ between stores, and obey central."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync.delivery.backoff import (
    FAILURES_IN_DOUBT,
    LINE_CAP_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    Backoff,
    RetryRules,
    retry_after,
    slot_of,
    spread,
)
from sync.delivery.outcomes import Hold, HoldReason, Trouble, TryLater

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FAR_AND_WIDE = datetime(1970, 1, 2), datetime(9998, 12, 31)  # noqa: DTZ001 - hypothesis adds UTC
# Either the store's line is at fault or head office; and all that is head office's alone.
EITHERS = [Trouble.NO_CONNECTION, Trouble.CLOCK]
ITS_OWN = [trouble for trouble in Trouble if trouble not in {Trouble.NO_LINE, *EITHERS}]
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


def asking(seconds: float, status: int = 429) -> TryLater:
    return TryLater(Trouble.BUSY, "busy", seconds, status)


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


@given(backoff=failures, rules=rule_sets(), share=shares)
def test_line_of_its_own_that_comes_back_is_noticed_within_seconds_however_long_it_was_down(
    backoff: Backoff, rules: RetryRules, share: float
) -> None:
    assert wait(backoff, TryLater(Trouble.NO_LINE, ""), rules, share) <= LINE_CAP_SECONDS


@pytest.mark.parametrize("trouble", EITHERS)
@given(times=st.integers(1, FAILURES_IN_DOUBT), rules=rule_sets(), share=shares)
def test_what_may_be_the_line_is_at_first_taken_for_it(
    trouble: Trouble, times: int, rules: RetryRules, share: float
) -> None:
    assert wait(Backoff(times), TryLater(trouble, ""), rules, share) <= LINE_CAP_SECONDS


@pytest.mark.parametrize("trouble", EITHERS)
def test_what_may_be_the_line_is_then_taken_for_head_office(trouble: Trouble) -> None:
    rules = RetryRules(1.0, 60.0, slot=0.5)
    longest = [
        wait(Backoff(FAILURES_IN_DOUBT + more), TryLater(trouble, ""), rules, 1.0)
        for more in range(6)
    ]
    assert longest == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("trouble", ITS_OWN)
@given(share=shares)
def test_head_office_that_is_away_is_asked_by_all_stores_over_a_whole_minute(
    trouble: Trouble, share: float
) -> None:
    """Ten thousand stores that each waited 5 s at most would ask 2,000 times a second."""
    seconds = wait(Backoff(7), TryLater(trouble, ""), RetryRules(1.0, 60.0, slot=0.5), share)
    assert seconds == pytest.approx(0.5 + 59.5 * share)


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


@given(asked=st.floats(0.1, 1e12), backoff=failures, rules=rule_sets(), share=shares)
def test_moment_that_all_were_told_alike_makes_no_wait_of_ours_shorter(
    asked: float, backoff: Backoff, rules: RetryRules, share: float
) -> None:
    """A head office that says "in 5 s" for half an hour would have all stores ask every 5 s."""
    own = wait(backoff, TryLater(Trouble.BUSY, "", http_status=503), rules, share)
    assert wait(backoff, asking(asked, 503), rules, share) >= own


@given(
    asked=st.floats(1, 3_600),
    backoffs=st.tuples(failures, failures),
    dice=st.tuples(shares, shares),
)
def test_moment_of_its_own_does_not_depend_on_how_often_it_failed_before(
    asked: float, backoffs: tuple[Backoff, Backoff], dice: tuple[float, float]
) -> None:
    rules = RetryRules(1.0, 60.0, slot=0.5)
    first, second = (
        wait(backoff, asking(asked), rules, share)
        for backoff, share in zip(backoffs, dice, strict=True)
    )
    assert first == second


@given(store=st.text(), till=st.text())
def test_machine_has_the_same_slot_for_ever(store: str, till: str) -> None:
    assert 0 <= slot_of(store, till) < 1
    assert slot_of(store, till) == slot_of(store, till)


def test_slots_of_a_chain_fill_the_whole_time_evenly() -> None:
    slots = [slot_of(f"{store:05}", "till-1") for store in range(10_000)]
    tenths = [sum(tenth <= slot * 10 < tenth + 1 for slot in slots) for tenth in range(10)]
    assert min(tenths) > 900
    assert max(tenths) < 1_100


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
