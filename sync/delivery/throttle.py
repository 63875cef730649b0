"""Throttles delivery: pauses within a backlog, because tills have priority; quiet hours."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, time

# Between two windows of a backlog: a busy store's backlog of a month takes about a minute.
PAUSE_SECONDS = 0.05
# While tills are active, that is for a second after each capture. A capture that coincides with
# a window takes at least twice as long; with these pauses so few do that p99 hardly changes. The
# backlog then takes some minutes. At full speed tills still get most of the time.
TILLS_PAUSE_SECONDS = 1.0
FULL_SPEED_TILLS_PAUSE_SECONDS = 0.02
TILLS_ACTIVE_SECONDS = 1.0


class Throttle:
    """Pauses between windows; limits the bandwidth in bytes per second (0: unlimited).

    `is_full_speed` shortens the pauses: an operator waits for the result.
    """

    def __init__(
        self,
        bandwidth_bytes_per_second: int = 0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._bandwidth = bandwidth_bytes_per_second
        self._sleep = sleep
        self.is_full_speed = False
        self._pause: asyncio.Future[object] | None = None
        self._tills_active_until = -math.inf

    def end_pause(self) -> None:
        """End the current pause: with a low bandwidth limit it can last a minute."""
        if self._pause is not None:
            self._pause.cancel()

    def yield_to_tills(self) -> None:
        """Slow down for TILLS_ACTIVE_SECONDS: a till was served and more captures may follow."""
        self._tills_active_until = asyncio.get_running_loop().time() + TILLS_ACTIVE_SECONDS

    async def pause(self, sent_bytes: int, *, more: bool) -> None:
        """Wait after a window of `sent_bytes` (uncompressed).

        Without `more` there is no backlog, and only the bandwidth limit applies.
        """
        seconds = self._pause_seconds() if more else 0.0
        if self._bandwidth:
            seconds = max(seconds, sent_bytes / self._bandwidth)
        self._pause = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait([self._pause])
        finally:
            self._pause.cancel()
            self._pause = None

    def _pause_seconds(self) -> float:
        if asyncio.get_running_loop().time() < self._tills_active_until:
            return FULL_SPEED_TILLS_PAUSE_SECONDS if self.is_full_speed else TILLS_PAUSE_SECONDS
        return 0.0 if self.is_full_speed else PAUSE_SECONDS


def quiet_hours(text: str, local_now: Callable[[], datetime]) -> Callable[[], bool]:
    """Return a function that returns whether quiet hours are on.

    `text` is local time such as `22:00-06:00`, across midnight if the end is before the start;
    empty for never. The end is exclusive.
    """
    if not text:
        return lambda: False
    begin, end = (time.fromisoformat(part.strip()) for part in text.split("-"))

    def is_quiet() -> bool:
        now = local_now().time()
        if begin <= end:
            return begin <= now < end
        return now >= begin or now < end

    return is_quiet
