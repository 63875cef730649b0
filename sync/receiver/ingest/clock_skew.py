"""When an event really happened: a till's wrong wall clock is taken out of its times.

No I/O. Times are aware UTC; `*_us` are microseconds of a machine's steady clock, which only
means something together with the boot that it counts from.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)


def zero_of_boot(received_at: datetime, sent_monotonic_us: int) -> datetime | None:
    """Return our time at which the sender's steady clock read zero; None if it is no time."""
    try:
        return received_at - timedelta(microseconds=sent_monotonic_us)
    except OverflowError:
        return None


class Corrector:
    """Corrects the events of one batch, in their order."""

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
        """Return when an event happened by our clock; None where that cannot be told.

        By the steady clock where its boot is known; else by the wall clock, if what it says
        is possible: after 2020, not in the future, not well before an earlier event. What is
        not `in_order` comes after events that are later than it.
        """
        at = self._by_steady_clock(boot_id, monotonic_us)
        if at is None and self._is_possible(occurred_at, in_order=in_order):
            at = occurred_at
        if in_order and at is not None:
            self.newest_trusted_at = max(at, self.newest_trusted_at or at)
        return at

    def _by_steady_clock(self, boot_id: str, monotonic_us: int | None) -> datetime | None:
        zero_at = self._zero_by_boot.get(boot_id)
        if zero_at is None or monotonic_us is None or monotonic_us < 0:
            return None
        try:
            at = zero_at + timedelta(microseconds=monotonic_us)
        except OverflowError:
            return None
        # Nothing arrives before it happens: such a reading is broken.
        return at if at <= self._latest else None

    def _is_possible(self, at: datetime, *, in_order: bool) -> bool:
        if not EARLIEST <= at <= self._latest:
            return False
        newest = self.newest_trusted_at if in_order else None
        return newest is None or at >= newest - TOLERANCE
