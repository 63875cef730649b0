"""Clock-skew correction: map a till's timestamps to head office's clock. Pure, no I/O.

Times are aware UTC; `*_us` are microseconds of a machine's clock since its boot, also while it
sleeps (CLOCK_BOOTTIME), meaningful only together with the boot id that it counts from.

Each message measures the zero point of its boot: our time at receipt less the sender's clock at
sending. A delay, as of a machine that slept while its request was on its way, makes the
measurement late, and nothing makes it early. So the earliest is the best, and not the newest. How
late it can be is known to the agent: not more than the round trip of one of its messages took.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)
# Two independent clocks that agree as far as this are both right.
AGREEMENT = timedelta(seconds=2)
# Measurements that differ by less are equal: usual latency, no need to store another one.
JITTER = timedelta(milliseconds=500)
# Of a quartz clock.
MAX_DRIFT = 100e-6
# A measurement that none confirmed for so long, while others came, was wrong: our clock was behind
# when it was made, or the machine was paused as a whole, its boot clock included.
REPLACED_AFTER = timedelta(minutes=15)
_REFRESHED_AFTER = timedelta(hours=1)
_ZERO = timedelta()


def boot_zero(received_at: datetime, sent_monotonic_us: int) -> datetime | None:
    """Return our time when the sender's monotonic clock read zero; None if out of range."""
    try:
        return received_at - timedelta(microseconds=sent_monotonic_us)
    except OverflowError:
        return None


def time_at(zero_at: datetime, monotonic_us: int) -> datetime | None:
    """Return our time at a reading of the monotonic clock; None if out of range."""
    try:
        return zero_at + timedelta(microseconds=monotonic_us)
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True)
class BootClock:
    """Our time when the clock of a boot read zero, by the best of its messages.

    `heard_at` is the time of a message that agreed. `later_zero_at` is the best measurement of the
    messages from `later_since` on, all of which were later than `zero_at` allows. Confirmed: two
    messages that were not on their way at the same time agreed, or the round trip of the boot's
    messages is short.
    """

    zero_at: datetime
    heard_at: datetime
    is_confirmed: bool = False
    later_zero_at: datetime | None = None
    later_since: datetime | None = None

    def with_measurement(
        self, zero_at: datetime, now: datetime, round_trip: timedelta | None = None
    ) -> "BootClock":
        """Return the clock after a message; equal to this one if it tells nothing new.

        `round_trip`: the time in which the sender had the answer to the message before.
        """
        since = max(now - self.heard_at, _ZERO)
        latest = self.zero_at + since * MAX_DRIFT
        # Parts of one message are no earlier message of each other.
        is_short = round_trip is not None and round_trip <= AGREEMENT and since > _ZERO
        within = max(JITTER, round_trip) if is_short and round_trip is not None else JITTER
        if zero_at <= self.zero_at - JITTER:
            # Far better: the confirmation of the worse one does not cover this one.
            better_by = self.zero_at - zero_at
            is_confirmed = self.is_confirmed and better_by < TOLERANCE
            return BootClock(zero_at, now, is_confirmed or (is_short and better_by <= within))
        if zero_at < latest + within:
            # Requests that a sleep held up arrive together, however far apart they were sent. That
            # two were late by the same is likely only where round trips are known to be long.
            agrees = round_trip is None and abs(zero_at - self.zero_at) < min(JITTER, since / 2)
            return self._with_agreement(min(zero_at, latest), now, is_sure=agrees or is_short)
        late_by = zero_at - latest
        if round_trip is not None and late_by <= round_trip:
            # As late as the line is slow: it agrees with the better ones.
            is_known = self.later_since is None
            return self if is_known else replace(self, later_zero_at=None, later_since=None)
        return self._with_later(zero_at, now)

    def _with_agreement(self, zero_at: datetime, now: datetime, *, is_sure: bool) -> "BootClock":
        since = now - self.heard_at
        is_confirmed = self.is_confirmed or is_sure
        is_fresh = _ZERO <= since < _REFRESHED_AFTER and self.later_since is None
        if is_fresh and is_confirmed == self.is_confirmed:
            return self
        return BootClock(zero_at, now, is_confirmed)

    def _with_later(self, zero_at: datetime, now: datetime) -> "BootClock":
        best, since = self.later_zero_at, self.later_since
        if best is None or since is None or since > now or zero_at <= best - JITTER:
            return replace(self, later_zero_at=zero_at, later_since=now)
        if now - since < REPLACED_AFTER or zero_at > best + AGREEMENT:
            return self
        return BootClock(best, now, is_confirmed=True)


@dataclass(frozen=True, slots=True)
class BootZero:
    """Our time at the zero point of a boot; `others` are less certain measurements of it.

    `late_by`: the most that it can be late, if it is not confirmed; None if that is unknown.
    """

    zero_at: datetime
    is_confirmed: bool = True
    others: tuple[datetime, ...] = ()
    late_by: timedelta | None = None


class SkewCorrector:
    """Corrects the times of one batch's events, in order."""

    def __init__(
        self,
        received_at: datetime,
        zero_by_boot: Mapping[str, BootZero],
        newest_trusted_at: datetime | None,
    ) -> None:
        self._latest = received_at + TOLERANCE
        self._zero_by_boot = zero_by_boot
        if newest_trusted_at is not None and newest_trusted_at > self._latest:
            # Our own clock was ahead when it was stored.
            newest_trusted_at = None
        self.newest_trusted_at = newest_trusted_at

    def correct(
        self,
        occurred_at: datetime,
        boot_id: str,
        monotonic_us: int | None,
        *,
        in_order: bool = True,
    ) -> datetime | None:
        """Return the event's time by our clock; None if unknown.

        Uses the monotonic clock if the boot is known, or the wall clock where it agrees: no delay
        is in it. Otherwise the wall clock, if plausible: after 2020, not in the future, and not
        more than `TOLERANCE` before an earlier event. Never a time that may be worse than the wall
        clock's: what an unconfirmed boot says is unknown (`is_uncertain`) where a delay of its
        messages explains the difference. Pass `in_order=False` for a resend, which can arrive after
        later events.
        """
        at = self._corrected(occurred_at, boot_id, monotonic_us, in_order=in_order)
        if in_order and at is not None:
            self.newest_trusted_at = max(at, self.newest_trusted_at or at)
        return at

    @property
    def has_uncertain(self) -> bool:
        """Return whether a boot of the batch is unconfirmed."""
        return any(not zero.is_confirmed for zero in self._zero_by_boot.values())

    def is_uncertain(self, occurred_at: datetime, boot_id: str, monotonic_us: int) -> bool:
        """Return whether a better time of the event is known once its boot is confirmed."""
        zero = self._zero_by_boot.get(boot_id)
        if zero is None or zero.is_confirmed or zero.late_by is not None or monotonic_us < 0:
            return False
        return self._measured(zero, occurred_at, monotonic_us) not in {None, occurred_at}

    def _corrected(
        self, wall: datetime, boot_id: str, monotonic_us: int | None, *, in_order: bool
    ) -> datetime | None:
        plausible = wall if self._is_plausible(wall, in_order=in_order) else None
        zero = self._zero_by_boot.get(boot_id)
        if zero is None or monotonic_us is None or monotonic_us < 0:
            return plausible
        at = self._measured(zero, wall, monotonic_us)
        if at is None or at == wall or zero.is_confirmed or wall >= at or wall < EARLIEST:
            # A message may have been late, but never early, and not by decades.
            return at or plausible
        if zero.late_by is not None:
            # The possible time nearest to the wall clock, unless that is surely worse.
            return at if at - wall > 2 * zero.late_by else max(wall, at - zero.late_by)
        # Late by all of the difference, or the wall clock is slow by it.
        return plausible if at - wall <= TOLERANCE else None

    def _measured(self, zero: BootZero, wall: datetime, monotonic_us: int) -> datetime | None:
        """Return the time by the boot, or the wall clock where that agrees; None if impossible."""
        at = self._since(zero.zero_at, monotonic_us)
        measured = (at, *(self._since(other, monotonic_us) for other in zero.others))
        if any(one is not None and abs(one - wall) <= AGREEMENT for one in measured):
            return wall
        return at

    def _since(self, zero_at: datetime, monotonic_us: int) -> datetime | None:
        at = time_at(zero_at, monotonic_us)
        # An event cannot happen after it arrived: the reading is broken.
        return at if at is not None and at <= self._latest else None

    def _is_plausible(self, at: datetime, *, in_order: bool) -> bool:
        if not EARLIEST <= at <= self._latest:
            return False
        newest = self.newest_trusted_at if in_order else None
        return newest is None or at >= newest - TOLERANCE
