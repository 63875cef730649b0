"""Clocks that a test sets."""

import time
from dataclasses import dataclass

from agent.facts import Timestamp

STORE_EPOCH_US = 1_700_000_000_000_000


class MonotonicClock:
    """A monotonic clock in seconds, as `time.monotonic`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@dataclass
class WallClock:
    """A wall clock in microseconds since 1970 UTC."""

    now_us: int = STORE_EPOCH_US

    def __call__(self) -> int:
        """Return the time."""
        return self.now_us

    def pass_seconds(self, seconds: float) -> None:
        """Advance the clock."""
        self.now_us += round(seconds * 1_000_000)


class AgentClock:
    """Both clocks of an agent, at the same fixed time; raises on demand."""

    def __init__(self, wall_us: int = 1_767_225_600_000_000) -> None:
        self.wall_us = wall_us
        self.broken = False

    def __call__(self) -> Timestamp:
        """Return a reading of both clocks."""
        if self.broken:
            raise RuntimeError("the clock is broken")
        return Timestamp(wall_us=self.wall_us, monotonic_us=self.wall_us)


class WrongClock:
    """Running clocks of a machine booted a minute ago; `wrong_by_us` is the wall clock's error."""

    def __init__(self) -> None:
        self.wrong_by_us = 0
        self._booted_us = time.time_ns() // 1000 - 60_000_000

    def fall_to_1970(self) -> None:
        """Set the wall clock to 1970, as after a boot without a battery."""
        self.wrong_by_us = -(time.time_ns() // 1000)

    def __call__(self) -> Timestamp:
        """Return a reading of both clocks."""
        now_us = time.time_ns() // 1000
        return Timestamp(now_us + self.wrong_by_us, now_us - self._booted_us)
