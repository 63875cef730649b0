"""Parsing of Retry-After: seconds or an HTTP date."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.delivery.backoff import MAX_RETRY_AFTER_SECONDS
from sync.delivery.transports.responses import retry_after

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
EARLIEST, LATEST = datetime(1970, 1, 2), datetime(9998, 12, 31)  # noqa: DTZ001 - hypothesis adds UTC

times = st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))
anything = st.one_of(st.text(), st.integers().map(str), st.floats().map(str))


@given(seconds=st.integers(0, 10**30))
def test_retry_after_seconds_are_capped_at_an_hour(seconds: int) -> None:
    assert retry_after(f" {seconds} ", None, NOW) == min(seconds, MAX_RETRY_AFTER_SECONDS)


@given(seconds=st.integers(-(10**9), 10**9), answered_at=times, now=times)
def test_retry_after_date_is_relative_to_the_responses_date_header(
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


def test_retry_after_date_is_relative_to_our_clock_without_a_date_header() -> None:
    named = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after(named, None, NOW) == 90.0
    assert retry_after(named, "nonsense", NOW) == 90.0


@pytest.mark.parametrize("header", ["-5", "soon", "", "1.5", "١٢", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_malformed_retry_after_is_ignored(header: str) -> None:
    assert retry_after(header, None, NOW) is None


def test_missing_retry_after_is_ignored() -> None:
    assert retry_after(None, None, NOW) is None


@given(header=anything, date=st.none() | anything)
def test_retry_after_of_any_text_is_none_or_up_to_an_hour(header: str, date: str | None) -> None:
    seconds = retry_after(header, date, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS
