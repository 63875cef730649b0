"""Clock-skew correction of event times; unknown times are marked as untrusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.ingest.clock_skew import EARLIEST, TOLERANCE, SkewCorrector, boot_zero

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MONTH = 30 * DAY
ANY_TIME = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants bounds without a zone
    datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)
ANY_CLOCK = st.none() | st.integers()


def corrector(
    zeros: Mapping[str, datetime] | None = None, newest: datetime | None = None
) -> SkewCorrector:
    """Return the corrector of a batch received at NOW."""
    return SkewCorrector(NOW, zeros or {}, newest)


def microseconds(span: timedelta) -> int:
    """Return a monotonic clock reading."""
    return span // timedelta(microseconds=1)


@dataclass(frozen=True)
class Happened:
    """An event of a boot: its true time, and the error of the wall clock."""

    after_boot: timedelta
    wall_error: timedelta


happenings = st.builds(
    Happened,
    st.timedeltas(timedelta(0), 10 * DAY),
    st.sampled_from([-56 * 365 * DAY, -DAY, -MINUTE, timedelta(0), MINUTE, DAY, 20 * 365 * DAY]),
)


@given(events=st.lists(happenings))
def test_events_of_a_known_boot_are_exact_for_any_wall_clock_error(
    events: list[Happened],
) -> None:
    booted_at = NOW - MONTH
    correct = corrector({"boot": booted_at}).correct

    for event in sorted(events, key=lambda event: event.after_boot):
        happened_at = booted_at + event.after_boot
        wall = happened_at + event.wall_error
        assert correct(wall, "boot", microseconds(event.after_boot)) == happened_at


@given(sent_after=st.timedeltas(timedelta(0), 1000 * DAY), line=st.timedeltas(timedelta(0), MINUTE))
def test_zero_of_boot_is_late_only_by_the_message_latency(
    sent_after: timedelta, line: timedelta
) -> None:
    booted_at = NOW - line - sent_after

    zero_at = boot_zero(NOW, microseconds(sent_after))

    assert zero_at == booted_at + line


@pytest.mark.parametrize("sent_monotonic_us", [10**18, 10**30, -(10**18), -(10**30)])
def test_out_of_range_monotonic_clock_gives_no_zero_of_boot(sent_monotonic_us: int) -> None:
    assert boot_zero(NOW, sent_monotonic_us) is None


@pytest.mark.parametrize(
    "wall",
    [
        pytest.param(datetime(1970, 1, 1, 0, 3, tzinfo=UTC), id="1970, no battery"),
        pytest.param(EARLIEST - MINUTE, id="before there was such a program"),
        pytest.param(NOW + TOLERANCE + MINUTE, id="jumped forward"),
        pytest.param(datetime.max.replace(tzinfo=UTC), id="the end of time"),
        pytest.param(datetime.min.replace(tzinfo=UTC), id="the beginning of time"),
    ],
)
def test_implausible_wall_clock_of_an_unknown_boot_is_untrusted(wall: datetime) -> None:
    assert corrector().correct(wall, "boot", microseconds(HOUR)) is None


@pytest.mark.parametrize("wall", [EARLIEST, NOW - MONTH, NOW, NOW + TOLERANCE])
def test_plausible_wall_clock_of_an_unknown_boot_is_used(wall: datetime) -> None:
    assert corrector().correct(wall, "boot", microseconds(HOUR)) == wall


def test_event_without_monotonic_clock_uses_the_wall_clock() -> None:
    assert corrector({"boot": NOW - DAY}).correct(NOW - HOUR, "boot", None) == NOW - HOUR


def test_wall_clock_that_jumped_behind_an_earlier_event_is_untrusted() -> None:
    correct = corrector().correct
    correct(NOW - HOUR, "boot", None)

    assert correct(NOW - DAY, "boot", None) is None


def test_backward_jump_is_detected_across_batches() -> None:
    earlier = corrector()
    earlier.correct(NOW - HOUR, "boot", None)

    later = corrector(newest=earlier.newest_trusted_at)

    assert later.correct(NOW - DAY, "boot", None) is None


def test_clock_set_back_within_the_tolerance_stays_trusted() -> None:
    correct = corrector().correct
    correct(NOW - HOUR, "boot", None)

    assert correct(NOW - HOUR - MINUTE, "boot", None) == NOW - HOUR - MINUTE


def test_correct_clock_stays_trusted_after_one_far_ahead() -> None:
    correct = corrector().correct
    correct(NOW + MONTH, "boot", None)

    assert correct(NOW - HOUR, "boot", None) == NOW - HOUR


def test_each_boot_in_a_batch_is_corrected_by_its_own_zero() -> None:
    correct = corrector({"first": NOW - 2 * DAY, "second": NOW - DAY}).correct
    in_1970 = datetime(1970, 1, 1, tzinfo=UTC)

    corrected = [
        correct(in_1970, "first", microseconds(HOUR)),
        correct(in_1970, "unknown", microseconds(HOUR)),
        correct(in_1970, "second", microseconds(HOUR)),
    ]

    assert corrected == [NOW - 2 * DAY + HOUR, None, NOW - DAY + HOUR]


@pytest.mark.parametrize(
    "broken", [microseconds(2 * DAY), microseconds(9000 * 365 * DAY), 10**30, -1, -(10**30)]
)
def test_impossible_monotonic_reading_falls_back_to_the_wall_clock(
    broken: int,
) -> None:
    correct = corrector({"boot": NOW - DAY}).correct

    assert correct(NOW - HOUR, "boot", broken) == NOW - HOUR


def test_broken_monotonic_reading_does_not_affect_later_events() -> None:
    correct = corrector({"boot": NOW - DAY}).correct
    correct(NOW - HOUR, "boot", microseconds(9000 * 365 * DAY))

    assert correct(NOW - HOUR, "other", None) == NOW - HOUR


def test_resend_is_not_compared_with_events_received_before_it() -> None:
    """For example a dead letter retried a month later."""
    correct = corrector(newest=NOW).correct

    assert correct(NOW - MONTH, "boot", None, in_order=False) == NOW - MONTH


def test_resend_does_not_advance_newest_trusted_at() -> None:
    late = corrector(newest=NOW - MONTH)
    late.correct(NOW, "boot", None, in_order=False)

    assert late.newest_trusted_at == NOW - MONTH


@given(
    walls=st.lists(st.tuples(ANY_TIME, st.sampled_from(["known", "unknown"]), ANY_CLOCK)),
    zero_at=ANY_TIME,
)
def test_corrected_time_is_never_after_arrival(
    walls: list[tuple[datetime, str, int | None]], zero_at: datetime
) -> None:
    correct = corrector({"known": zero_at}).correct

    corrected = [correct(wall, boot, steady) for wall, boot, steady in walls]

    assert all(at is None or at <= NOW + TOLERANCE for at in corrected)
