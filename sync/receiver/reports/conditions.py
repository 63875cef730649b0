"""Store health conditions: thresholds and severity order. No I/O."""

from datetime import timedelta
from enum import StrEnum

# Agents send a heartbeat every minute, but none during an offline window.
SILENT_AFTER = timedelta(minutes=5)
# Age of the oldest undelivered event; normally events are delivered within seconds.
BEHIND_AFTER = timedelta(minutes=5)
# The tolerance of the clock correction at ingest (`clock_skew.TOLERANCE`).
CLOCK_WRONG_BEYOND = timedelta(minutes=5)
# Room for another month of a busy till's captures.
DISK_LOW_BELOW_BYTES = 512 * 1024**2
# A refusal is noted once an hour; a till in a crash loop is refused until the day has passed.
EPOCHS_REFUSED_WITHIN = timedelta(hours=2)
# A weekend with a holiday. One that was switched on since, with a dead line, looks just the same.
CLOSED_LONG_AFTER = timedelta(days=3)
# Longer durations come from a wrong clock and mean nothing.
MAX_PLAUSIBLE_AGE = timedelta(days=365)


class Condition(StrEnum):
    """A condition of a store: true if it is true of any of its tills. Most severe first.

    The values are those of URLs and metrics. `CLOSED` (switched off in order) and `NOT_INSTALLED`
    (enrolled, never heard) are no faults. `OTHER_VERSION` is informational: a store with no other
    condition counts as delivering.
    """

    SILENT = "silent"
    DEAD_LETTERS = "refused"
    SHARED_NAME = "shared-name"
    UNCONFIRMED = "unconfirmed"
    TOO_MANY_EPOCHS = "too-many-epochs"
    CLOSED_WAITING = "closed-waiting"
    DISK_LOW = "disk-low"
    CLOCK_WRONG = "clock-wrong"
    BEHIND = "behind"
    CLOSED_LONG = "closed-long"
    CLOSED = "closed"
    NOT_INSTALLED = "not-installed"
    DELIVERING = "delivering"
    OTHER_VERSION = "other-version"

    @property
    def column(self) -> str:
        """Name of the column that counts the tills in this condition."""
        # The prefix keeps it apart from the columns of data, such as `dead_letters`.
        return f"is_{self.name.lower()}"


# Those that are a state of their own, not a note on a till that delivers.
STATES = tuple(
    condition
    for condition in Condition
    if condition not in {Condition.DELIVERING, Condition.OTHER_VERSION}
)


# A store is in one of these states only if each of its tills is in one of them.
NO_FAULTS = (Condition.CLOSED, Condition.NOT_INSTALLED)


def plausible_duration(seconds: float | None) -> timedelta | None:
    """Convert seconds from the database to a duration; None if it is implausible."""
    if seconds is None or not 0 <= seconds <= MAX_PLAUSIBLE_AGE.total_seconds():
        return None
    return timedelta(seconds=seconds)
