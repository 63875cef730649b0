"""The time for which delivered captures are kept, seen from now."""

from dataclasses import dataclass

DAY_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class RetentionWindow:
    """The last `days` before `now_us`."""

    days: float
    now_us: int

    def covers(self, at_us: int) -> bool:
        """Return whether captures delivered at that time are still kept."""
        return at_us + self.days * DAY_US >= self.now_us
