"""What a store can be in need of, from what, and what comes first. No I/O."""

from datetime import timedelta
from enum import StrEnum

# Agents send a heartbeat each minute, and while they are offered no line, none.
SILENT_AFTER = timedelta(minutes=5)
# The oldest event that waits: what is delivered as it comes waits seconds.
BEHIND_AFTER = timedelta(minutes=5)
# As far as times are taken for right where the clock is corrected (`clock.TOLERANCE`).
CLOCK_WRONG_BEYOND = timedelta(minutes=5)
# A month of a busy till's captures still fits.
DISK_LOW_BELOW_BYTES = 512 * 1024**2


class Condition(StrEnum):
    """A condition of a store: it holds if it holds for any of its tills. The gravest first.

    `OTHER_VERSION` is a note, not a trouble: a store of which nothing else is true delivers.
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
        """The column that says of how many tills it is true; no other has its name."""
        # In any case of letters: SQLite makes no difference.
        return f"holds_{self.name.lower()}"


# Nobody can say more of a time that is further away.
LONGEST_TOLD = timedelta(days=365)


def span_of(seconds: float | None) -> timedelta | None:
    """Return a span that the database has told in seconds; None if it says nothing to a person."""
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
