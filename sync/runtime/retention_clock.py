"""Clock for retention: follows the wall clock, by no more time than has really passed.

A wall clock that is set to a wrong year would end every retention period at once. So this clock
gains on it, or falls back to it, by at most twice the time that passed by the machine's clock since
boot (CLOCK_BOOTTIME); a reboot may have taken a day. In the end it agrees with the wall clock, even
a wrong one, and it never runs ahead of it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from sync.runtime.files.atomic_file import atomic_file

CLOCK_FILE = "retention-clock.json"
# 2025, before this program existed: a clock that reads less is wrong, and says nothing.
EARLIEST_US = 1_735_689_600_000_000
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US = 3_600 * 1_000_000
_DAY_US = 24 * _HOUR_US
_GAIN = 2


class Reading(msgspec.Struct, frozen=True):
    """The retention clock at `boot_us` after the boot `boot_id`."""

    at_us: int
    boot_id: str
    boot_us: int

    def followed(self, wall_us: int, boot_id: str, boot_us: int) -> "Reading":
        """Return the reading now, closer to the wall clock by the time that has passed."""
        is_same_boot = boot_id == self.boot_id
        gain_us = _GAIN * max(boot_us - self.boot_us, 0) if is_same_boot else _DAY_US
        at_us = min(max(wall_us, self.at_us - gain_us), self.at_us + gain_us)
        return Reading(at_us, boot_id, boot_us)


class RetentionClock:
    """Reads the clock, kept in `file` over restarts. `clocks` returns wall and boot time in µs.

    A file that cannot be written or read costs accuracy only. Not thread-safe; event loop only.
    """

    def __init__(self, file: Path, boot_id: str, clocks: Callable[[], tuple[int, int]]) -> None:
        self._file = file
        self._boot_id = boot_id
        self._clocks = clocks
        self._last: Reading | None = None
        self._written: Reading | None = None

    async def __call__(self) -> int:
        """Return the time in microseconds since 1970, never later than the wall clock."""
        if self._last is None:
            self._last = self._written = await asyncio.to_thread(_read, self._file)
        wall_us, boot_us = self._clocks()
        if wall_us < EARLIEST_US:
            return wall_us
        last = self._last or Reading(wall_us, self._boot_id, boot_us)
        now = self._last = last.followed(wall_us, self._boot_id, boot_us)
        if not self._is_written(now):
            await asyncio.to_thread(_write, self._file, now)
            self._written = now
        return min(now.at_us, wall_us)

    async def utc(self) -> datetime:
        """Return the time."""
        return _UNIX + timedelta(microseconds=await self())

    def _is_written(self, now: Reading) -> bool:
        written = self._written
        if written is None or written.boot_id != now.boot_id:
            return False
        return 0 <= now.boot_us - written.boot_us < _HOUR_US


def microseconds_since_boot() -> int:
    """Return the time since boot, also while asleep."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def _read(file: Path) -> Reading | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Reading)
    except (OSError, msgspec.DecodeError):
        return None


def _write(file: Path, reading: Reading) -> None:
    # A full disk: the next run tries again, an hour later.
    with contextlib.suppress(OSError), atomic_file(file) as scratch:
        scratch.write(msgspec.json.encode(reading))
