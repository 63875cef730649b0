"""When events happened: a wrong wall clock is taken out, and what cannot be told is marked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.ingest.clock_skew import EARLIEST, TOLERANCE, Corrector, zero_of_boot

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
) -> Corrector:
    """Return what corrects a batch that comes now."""
    return Corrector(NOW, zeros or {}, newest)


def microseconds(span: timedelta) -> int:
    """Return a reading of a steady clock."""
    return span // timedelta(microseconds=1)


@dataclass(frozen=True)
class Happened:
    """An event of a boot: when it truly happened, and how wrong the wall clock was."""

    after_boot: timedelta
    wall_error: timedelta


happenings = st.builds(
    Happened,
    st.timedeltas(timedelta(0), 10 * DAY),
    st.sampled_from([-56 * 365 * DAY, -DAY, -MINUTE, timedelta(0), MINUTE, DAY, 20 * 365 * DAY]),
)


@given(events=st.lists(happenings))
def test_whatever_the_wall_clock_did_a_boot_that_was_heard_from_is_corrected_exactly(
    events: list[Happened],
) -> None:
    booted_at = NOW - MONTH
    correct = corrector({"boot": booted_at}).correct

    for event in sorted(events, key=lambda event: event.after_boot):
        happened_at = booted_at + event.after_boot
        wall = happened_at + event.wall_error
        assert correct(wall, "boot", microseconds(event.after_boot)) == happened_at


@given(sent_after=st.timedeltas(timedelta(0), 1000 * DAY), line=st.timedeltas(timedelta(0), MINUTE))
def test_boot_began_as_long_ago_as_the_message_says_but_for_its_time_on_the_line(
    sent_after: timedelta, line: timedelta
) -> None:
    booted_at = NOW - line - sent_after

    zero_at = zero_of_boot(NOW, microseconds(sent_after))

    assert zero_at == booted_at + line


@pytest.mark.parametrize("sent_monotonic_us", [10**18, 10**30, -(10**18), -(10**30)])
def test_steady_clock_beyond_all_time_says_nothing_of_its_boot(sent_monotonic_us: int) -> None:
    assert zero_of_boot(NOW, sent_monotonic_us) is None


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
def test_impossible_wall_clock_of_a_boot_never_heard_from_is_marked(wall: datetime) -> None:
    assert corrector().correct(wall, "boot", microseconds(HOUR)) is None


@pytest.mark.parametrize("wall", [EARLIEST, NOW - MONTH, NOW, NOW + TOLERANCE])
def test_possible_wall_clock_counts_where_there_is_no_better(wall: datetime) -> None:
    assert corrector().correct(wall, "boot", microseconds(HOUR)) == wall


def test_event_without_a_steady_clock_goes_by_the_wall_clock() -> None:
    assert corrector({"boot": NOW - DAY}).correct(NOW - HOUR, "boot", None) == NOW - HOUR


def test_wall_clock_that_jumped_back_behind_an_earlier_event_is_marked() -> None:
    correct = corrector().correct
    correct(NOW - HOUR, "boot", None)

    assert correct(NOW - DAY, "boot", None) is None


def test_jump_back_is_noticed_across_batches_too() -> None:
    earlier = corrector()
    earlier.correct(NOW - HOUR, "boot", None)

    later = corrector(newest=earlier.newest_trusted_at)

    assert later.correct(NOW - DAY, "boot", None) is None


def test_clock_set_back_by_a_little_stays_trusted() -> None:
    correct = corrector().correct
    correct(NOW - HOUR, "boot", None)

    assert correct(NOW - HOUR - MINUTE, "boot", None) == NOW - HOUR - MINUTE


def test_right_clock_goes_on_counting_after_one_that_was_far_ahead() -> None:
    correct = corrector().correct
    correct(NOW + MONTH, "boot", None)

    assert correct(NOW - HOUR, "boot", None) == NOW - HOUR


def test_boots_of_one_batch_are_corrected_each_by_its_own() -> None:
    correct = corrector({"first": NOW - 2 * DAY, "second": NOW - DAY}).correct
    in_1970 = datetime(1970, 1, 1, tzinfo=UTC)

    corrected = [
        correct(in_1970, "first", microseconds(HOUR)),
        correct(in_1970, "never heard from", microseconds(HOUR)),
        correct(in_1970, "second", microseconds(HOUR)),
    ]

    assert corrected == [NOW - 2 * DAY + HOUR, None, NOW - DAY + HOUR]


@pytest.mark.parametrize(
    "broken", [microseconds(2 * DAY), microseconds(9000 * 365 * DAY), 10**30, -1, -(10**30)]
)
def test_reading_that_no_steady_clock_can_have_leaves_the_word_to_the_wall_clock(
    broken: int,
) -> None:
    correct = corrector({"boot": NOW - DAY}).correct

    assert correct(NOW - HOUR, "boot", broken) == NOW - HOUR


def test_broken_reading_does_not_put_the_events_after_it_in_doubt() -> None:
    correct = corrector({"boot": NOW - DAY}).correct
    correct(NOW - HOUR, "boot", microseconds(9000 * 365 * DAY))

    assert correct(NOW - HOUR, "other", None) == NOW - HOUR


def test_event_that_comes_late_is_not_measured_by_those_that_were_before_it() -> None:
    """A dead letter that is tried again a month later is as old as it says."""
    correct = corrector(newest=NOW).correct

    assert correct(NOW - MONTH, "boot", None, in_order=False) == NOW - MONTH


def test_event_that_comes_late_is_no_measure_for_others() -> None:
    late = corrector(newest=NOW - MONTH)
    late.correct(NOW, "boot", None, in_order=False)

    assert late.newest_trusted_at == NOW - MONTH


@given(
    walls=st.lists(st.tuples(ANY_TIME, st.sampled_from(["known", "unknown"]), ANY_CLOCK)),
    zero_at=ANY_TIME,
)
def test_nothing_is_ever_said_to_have_happened_after_it_arrived(
    walls: list[tuple[datetime, str, int | None]], zero_at: datetime
) -> None:
    correct = corrector({"known": zero_at}).correct

    told = [correct(wall, boot, steady) for wall, boot, steady in walls]

    assert all(at is None or at <= NOW + TOLERANCE for at in told)
