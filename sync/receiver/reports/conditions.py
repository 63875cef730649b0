"""Store health conditions: thresholds and severity order. No I/O."""

from datetime import timedelta
from enum import StrEnum

# Agents send a heartbeat every minute, but none during an offline window.
SILENT_AFTER = timedelta(minutes=5)
# Age of the oldest undelivered event; normally events are delivered within seconds.
BEHIND_AFTER = timedelta(minutes=5)
# The tolerance of the clock correction at ingest (`clock.TOLERANCE`).
CLOCK_WRONG_BEYOND = timedelta(minutes=5)
# Room for another month of a busy till's captures.
DISK_LOW_BELOW_BYTES = 512 * 1024**2


class Condition(StrEnum):
    """A condition of a store: true if it is true of any of its tills. Most severe first.

    `OTHER_VERSION` is informational: a store with no other condition counts as delivering.
    """

    SILENT = "silent"
    REFUSED = "refused"
    DISK_LOW = "disk-low"
    CLOCK_WRONG = "clock-wrong"
    BEHIND = "behind"
    DELIVERING = "delivering"
    OTHER_VERSION = "other-version"

    @property
    def column(self) -> str:
        """Name of the column that counts the tills in this condition; unique among the columns."""
        # SQLite column names are case-insensitive, hence the prefix.
        return f"holds_{self.name.lower()}"


# Longer durations come from a wrong clock and mean nothing.
LONGEST_TOLD = timedelta(days=365)


def span_of(seconds: float | None) -> timedelta | None:
    """Convert seconds from the database to a duration; None if it is implausible."""
    if seconds is None or not 0 <= seconds <= LONGEST_TOLD.total_seconds():
        return None
    return timedelta(seconds=seconds)


TROUBLES = (
    Condition.SILENT,
    Condition.REFUSED,
    Condition.DISK_LOW,
    Condition.CLOCK_WRONG,
    Condition.BEHIND,
)
