"""True time, and the clocks of machines that are wrong about it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.facts import Timestamp

BEGIN_US = 1_767_225_600_000_000  # 2026
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class TrueTime:
    """The time at head office, in microseconds since 1970 UTC."""

    now_us: int = BEGIN_US

    def pass_us(self, microseconds: int) -> None:
        """Let time pass everywhere."""
        self.now_us += microseconds

    def at(self) -> datetime:
        """Return the time as head office reads it."""
        return datetime_of(self.now_us)


@dataclass
class MachineClock:
    """Both clocks of a machine: the wall clock is wrong by `wrong_by_us`."""

    true: TrueTime
    wrong_by_us: int = 0
    booted_us: int = field(init=False)

    def __post_init__(self) -> None:
        self.booted_us = self.true.now_us - 60 * SECOND_US

    def __call__(self) -> Timestamp:
        """Return a reading of both clocks."""
        return Timestamp(self.wall_us(), self.true.now_us - self.booted_us)

    def both_us(self) -> tuple[int, int]:
        """Return a reading of both clocks, in microseconds."""
        at = self()
        return at.wall_us, at.monotonic_us

    def wall_us(self) -> int:
        """Return the wall clock's time."""
        return self.true.now_us + self.wrong_by_us


def datetime_of(time_us: int) -> datetime:
    """Return the time in microseconds as an aware time, without rounding."""
    return _EPOCH + timedelta(microseconds=time_us)


def us_of(at: datetime) -> int:
    """Return an aware time in microseconds since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)
