"""RFC 3339: round trip, sort order, and clocks that are far out."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.rfc3339 import Precision, from_rfc3339, to_rfc3339, us_to_rfc3339

MOMENTS = st.datetimes(timezones=st.just(UTC))
YEAR_9999_US = 253_402_300_799_999_999


@pytest.mark.parametrize(
    ("precision", "text"),
    [("milliseconds", "2026-11-22T14:00:00.123Z"), ("microseconds", "2026-11-22T14:00:00.123456Z")],
)
def test_time_has_a_fixed_number_of_digits(precision: Precision, text: str) -> None:
    moment = datetime(2026, 11, 22, 14, 0, 0, 123_456, UTC)

    assert to_rfc3339(moment, precision) == text
    assert us_to_rfc3339(1_795_356_000_123_456, precision) == text


@given(MOMENTS)
def test_any_time_round_trips(moment: datetime) -> None:
    assert from_rfc3339(to_rfc3339(moment)) == moment


@given(MOMENTS, MOMENTS)
def test_texts_sort_by_time(one: datetime, other: datetime) -> None:
    assert (to_rfc3339(one) < to_rfc3339(other)) == (one < other)


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_any_clock_gives_a_valid_time(time_us: int) -> None:
    assert from_rfc3339(us_to_rfc3339(time_us)) is not None
    assert from_rfc3339(us_to_rfc3339(time_us, "milliseconds")) is not None


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (YEAR_9999_US, "9999-12-31T23:59:59.999999Z"),
        (YEAR_9999_US + 1, "9999-12-31T23:59:59.999999Z"),
        (2**63, "9999-12-31T23:59:59.999999Z"),
        (-(2**63), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_clock_beyond_the_calendar_stops_at_its_ends(time_us: int, text: str) -> None:
    assert us_to_rfc3339(time_us) == text


@given(
    st.datetimes(
        datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants bounds without a zone
        datetime(9999, 12, 30),  # noqa: DTZ001 - as above
        timezones=st.integers(-1439, 1439).map(lambda offset: timezone(timedelta(minutes=offset))),
    )
)
def test_time_with_any_offset_is_converted_to_utc(moment: datetime) -> None:
    read = from_rfc3339(moment.isoformat())

    assert read == moment
    assert read is not None
    assert read.tzinfo is UTC


@given(st.text())
def test_any_text_is_a_utc_time_or_none(text: str) -> None:
    read = from_rfc3339(text)

    assert read is None or read.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "soon", "2026-11-22T14:00:00", "0001-01-01T00:00:00+23:59"])
def test_text_without_a_time_and_an_offset_is_none(text: str) -> None:
    assert from_rfc3339(text) is None
