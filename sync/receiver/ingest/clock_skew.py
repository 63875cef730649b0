"""Clock-skew correction: map a till's timestamps to head office's clock. Pure, no I/O.

Times are aware UTC; `*_us` are microseconds of a machine's monotonic clock, meaningful only
together with the boot id that it counts from.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)


def boot_zero(received_at: datetime, sent_monotonic_us: int) -> datetime | None:
    """Return our time when the sender's monotonic clock read zero; None if out of range."""
    try:
        return received_at - timedelta(microseconds=sent_monotonic_us)
    except OverflowError:
        return None


class SkewCorrector:
    """Corrects the times of one batch's events, in order."""

    def __init__(
        self,
        received_at: datetime,
        zero_by_boot: Mapping[str, datetime],
        newest_trusted_at: datetime | None,
    ) -> None:
        self._latest = received_at + TOLERANCE
        self._zero_by_boot = zero_by_boot
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

        Uses the monotonic clock if the boot is known; else the wall clock, if plausible: after
        2020, not in the future, and not more than `TOLERANCE` before an earlier event. Pass
        `in_order=False` for a resend, which can arrive after later events.
        """
        at = self._by_monotonic_clock(boot_id, monotonic_us)
        if at is None and self._is_plausible(occurred_at, in_order=in_order):
            at = occurred_at
        if in_order and at is not None:
            self.newest_trusted_at = max(at, self.newest_trusted_at or at)
        return at

    def _by_monotonic_clock(self, boot_id: str, monotonic_us: int | None) -> datetime | None:
        zero_at = self._zero_by_boot.get(boot_id)
        if zero_at is None or monotonic_us is None or monotonic_us < 0:
            return None
        try:
            at = zero_at + timedelta(microseconds=monotonic_us)
        except OverflowError:
            return None
        # An event cannot happen after it arrived: the reading is broken.
        return at if at <= self._latest else None

    def _is_plausible(self, at: datetime, *, in_order: bool) -> bool:
        if not EARLIEST <= at <= self._latest:
            return False
        newest = self.newest_trusted_at if in_order else None
        return newest is None or at >= newest - TOLERANCE
