"""Clock-skew correction of event times; unknown times are marked as untrusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.ingest.times.clock_skew import (
    AGREEMENT,
    EARLIEST,
    JITTER,
    MAX_DRIFT,
    REPLACED_AFTER,
    TOLERANCE,
    BootClock,
    BootZero,
    SkewCorrector,
    boot_zero,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MILLISECOND, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)
IN_1970 = datetime(1970, 1, 1, tzinfo=UTC)
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
    """Return the corrector of a batch received at NOW; the zero points are certain."""
    return SkewCorrector(NOW, {boot: BootZero(at) for boot, at in (zeros or {}).items()}, newest)


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


@dataclass(frozen=True)
class Sent:
    """A message: sent `after` the one before, `late` at head office."""

    after: timedelta
    late: timedelta


@dataclass(frozen=True)
class Till:
    """A machine that was booted at NOW, and what its messages tell of that."""

    drift: float
    measured: BootClock | None = None
    late_by: timedelta | None = None

    def reading(self, at: datetime) -> timedelta:
        """Return its monotonic clock at this time."""
        return (at - NOW) * (1 + self.drift)

    def told(
        self, sent_at: datetime, received_at: datetime, round_trip: timedelta | None = None
    ) -> "Till":
        """Return it after a message."""
        zero_at = boot_zero(received_at, microseconds(self.reading(sent_at)))
        assert zero_at is not None
        known = self.measured
        measured = known.with_measurement(zero_at, received_at, round_trip) if known else None
        return Till(self.drift, measured or BootClock(zero_at, received_at), round_trip)

    def corrected_wall(
        self, at: datetime, wall: datetime, received_at: datetime
    ) -> datetime | None:
        """Return head office's time of an event, by a batch that arrived just now."""
        assert self.measured is not None
        zero, is_confirmed = self.measured.zero_at, self.measured.is_confirmed
        zeros = {"boot": BootZero(zero, is_confirmed, late_by=self.late_by)}
        steady = microseconds(self.reading(at))
        return SkewCorrector(received_at, zeros, None).correct(wall, "boot", steady)

    def corrected(self, at: datetime, received_at: datetime) -> datetime:
        """Return head office's time of an event of 1970, a batch without a clock reading."""
        assert self.measured is not None
        zeros = {"boot": BootZero(self.measured.zero_at, self.measured.is_confirmed)}
        steady = microseconds(self.reading(at))
        corrected = SkewCorrector(received_at, zeros, None).correct(IN_1970, "boot", steady)
        assert corrected is not None
        return corrected


drifts = st.floats(-MAX_DRIFT / 2, MAX_DRIFT / 2)
delays = st.sampled_from([0 * SECOND, 0.2 * SECOND, 3 * SECOND, 40 * SECOND, HOUR, 9 * HOUR])
messages = st.lists(
    st.builds(Sent, st.timedeltas(SECOND, 10 * MINUTE), delays), min_size=1, max_size=60
)


@given(drift=drifts, sent=messages)
def test_corrected_times_are_never_early_and_late_by_the_worst_delay_at_most(
    drift: float, sent: list[Sent]
) -> None:
    till, at, worst = Till(drift), NOW, timedelta(0)
    arrivals = []
    for one in sent:
        at += one.after
        arrivals.append((at + one.late, at))
    for received_at, sent_at in sorted(arrivals):
        till = till.told(sent_at, received_at)
        worst = max(worst, received_at - sent_at)
        drifted = JITTER + (received_at - NOW) * MAX_DRIFT
        error = till.corrected(sent_at, received_at) - sent_at
        assert -drifted <= error <= worst + drifted


@given(
    drift=drifts,
    lates=st.lists(st.tuples(st.integers(0, 299), st.timedeltas(MINUTE, 9 * HOUR)), max_size=30),
    slept=st.timedeltas(timedelta(0), 9 * HOUR),
)
def test_late_messages_do_no_harm_beside_prompt_ones(
    drift: float, lates: list[tuple[int, timedelta]], slept: timedelta
) -> None:
    """For example what a gateway held back, or what was sent just before a sleep."""
    asleep_at, woke_at = NOW + 150 * MINUTE, NOW + 150 * MINUTE + slept
    prompt = [NOW + minute * MINUTE for minute in range(300)]
    prompt = [at if at < asleep_at else at + slept for at in prompt]
    arrivals = [(at + SECOND, at) for at in prompt]
    for minute, late in lates:
        received_at = prompt[minute] + late
        is_on_machine = asleep_at <= received_at < woke_at
        arrivals.append((woke_at if is_on_machine else received_at, prompt[minute]))
    till = Till(drift)

    for received_at, sent_at in sorted(arrivals):
        if received_at > prompt[-1]:
            break
        till = till.told(sent_at, received_at)
        error = till.corrected(sent_at, received_at) - sent_at
        assert abs(error) <= SECOND + JITTER + DAY * MAX_DRIFT


@given(ahead=st.timedeltas(-30 * DAY, 30 * DAY), at=st.integers(1, 50))
def test_a_wrong_clock_of_head_office_is_forgotten(ahead: timedelta, at: int) -> None:
    till = Till(0)
    for minute in range(100):
        sent_at = NOW + minute * MINUTE
        till = till.told(sent_at, sent_at + (ahead if minute == at else timedelta(0)))
        if minute < at or minute > at + REPLACED_AFTER / MINUTE + 1:
            assert abs(till.corrected(sent_at, sent_at + 31 * DAY) - sent_at) <= JITTER


@given(apart=st.lists(st.timedeltas(-MINUTE, MINUTE), min_size=2, max_size=4))
def test_receivers_with_clocks_apart_correct_within_their_clocks(apart: list[timedelta]) -> None:
    till = Till(0)
    for minute in range(100):
        sent_at = NOW + minute * MINUTE
        till = till.told(sent_at, sent_at + apart[minute % len(apart)])
        error = till.corrected(sent_at, sent_at + HOUR) - sent_at
        assert min(apart) - JITTER <= error <= max(apart) + JITTER


def test_far_better_measurement_is_not_confirmed_by_those_that_agreed_on_a_worse_one() -> None:
    """Requests of a sleep of hours agreed; or head office's clock was behind just now."""
    worse = BootClock(NOW, NOW, is_confirmed=True)

    assert not worse.with_measurement(NOW - HOUR, NOW + MINUTE).is_confirmed
    assert worse.with_measurement(NOW - SECOND, NOW + MINUTE).is_confirmed


@pytest.mark.parametrize("late", [0.1 * SECOND, 1.9 * SECOND])
def test_wall_clock_that_agrees_is_right(late: timedelta) -> None:
    zeros = {"boot": BootZero(NOW - DAY + late)}
    correct = SkewCorrector(NOW, zeros, None).correct

    assert correct(NOW - HOUR, "boot", microseconds(23 * HOUR)) == NOW - HOUR


def test_wall_clock_that_agrees_with_the_message_itself_is_right_though_the_boot_is_not() -> None:
    """Head office's clock was an hour behind when an earlier message arrived."""
    zeros = {"boot": BootZero(NOW - DAY - HOUR, is_confirmed=True, others=(NOW - DAY,))}
    correct = SkewCorrector(NOW, zeros, None).correct

    assert correct(NOW - HOUR, "boot", microseconds(23 * HOUR)) == NOW - HOUR
    slow = NOW - HOUR - 2 * AGREEMENT
    assert correct(slow, "boot", microseconds(23 * HOUR)) == NOW - 2 * HOUR


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        pytest.param(NOW - 10 * HOUR, None, id="slow, or the message was late"),
        pytest.param(NOW - HOUR - TOLERANCE, NOW - HOUR - TOLERANCE, id="slow within tolerance"),
        pytest.param(NOW, NOW - HOUR, id="ahead: no delay explains it"),
        pytest.param(IN_1970, NOW - HOUR, id="not plausible"),
    ],
)
def test_only_message_of_a_boot_decides_nothing_against_a_plausible_wall_clock(
    wall: datetime, expected: datetime | None
) -> None:
    zeros = {"boot": BootZero(NOW - DAY, is_confirmed=False)}

    assert (
        SkewCorrector(NOW, zeros, None).correct(wall, "boot", microseconds(23 * HOUR)) == expected
    )


@pytest.mark.parametrize(
    ("slow", "expected"),
    [
        pytest.param(10 * MINUTE, timedelta(0), id="surely wrong"),
        pytest.param(50 * SECOND, 30 * SECOND, id="nearest time that is possible"),
        pytest.param(20 * SECOND, 20 * SECOND, id="possible as it stands"),
        pytest.param(-MINUTE, timedelta(0), id="ahead"),
    ],
)
def test_boot_that_can_be_late_by_its_round_trip_carries_that(
    slow: timedelta, expected: timedelta
) -> None:
    zeros = {"boot": BootZero(NOW - DAY, is_confirmed=False, late_by=30 * SECOND)}
    at, steady = NOW - HOUR, microseconds(23 * HOUR)

    assert SkewCorrector(NOW, zeros, None).correct(at - slow, "boot", steady) == at - expected


exchanges = st.lists(
    st.tuples(
        st.timedeltas(SECOND, 10 * MINUTE),
        st.sampled_from([0.03 * SECOND, 0.2 * SECOND, 3 * SECOND, 40 * SECOND, HOUR, 9 * HOUR]),
        st.sampled_from([0.03 * SECOND, 0.2 * SECOND, 40 * SECOND, HOUR]),
    ),
    min_size=1,
    max_size=20,
)
wall_errors = st.sampled_from([-DAY, -10 * MINUTE, -MINUTE, -SECOND, 0 * SECOND, MINUTE, HOUR])


@given(drift=drifts, sent=exchanges, wall_error=wall_errors)
def test_no_time_is_corrected_to_a_worse_one(
    drift: float,
    sent: list[tuple[timedelta, timedelta, timedelta]],
    wall_error: timedelta,
) -> None:
    """One exchange after another, as a heartbeat and then batches: each has its answer.

    Right within the round trip, of which the sender tells.
    """
    till, at, last = Till(drift), NOW + MINUTE, None
    for after, there, back in sent:
        at += after
        received_at = at + there
        till = till.told(at, received_at, last)
        drifted = JITTER + AGREEMENT + (received_at - NOW) * MAX_DRIFT
        corrected = till.corrected_wall(at - MINUTE, at - MINUTE + wall_error, received_at)
        if corrected is not None:
            error = abs(corrected - (at - MINUTE))
            assert error <= max(abs(wall_error), drifted)
        if last is not None:
            assert corrected is not None
            assert error <= last + drifted
        at, last = received_at + back, there + back


def test_messages_that_a_sleep_delayed_together_do_not_confirm_each_other() -> None:
    till, woke = Till(0), NOW + 9 * HOUR
    for sent_after in (0.1, 0.3, 2, 20):
        till = till.told(NOW + sent_after * SECOND, woke + sent_after * MILLISECOND)

    assert till.measured is not None
    assert not till.measured.is_confirmed


def test_messages_sent_one_after_the_other_confirm_each_other() -> None:
    till = Till(0).told(NOW, NOW + 0.1 * SECOND).told(NOW + 0.3 * SECOND, NOW + 0.42 * SECOND)

    assert till.measured is not None
    assert till.measured.is_confirmed
