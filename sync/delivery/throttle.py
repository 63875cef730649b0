"""Throttles the delivery of a backlog: tills and card payments have priority."""

import asyncio
import math
from collections.abc import Awaitable, Callable

# Between two windows of a backlog: a busy store's backlog of a month takes about a minute.
PAUSE_SECONDS = 0.05
# While tills are active, that is for a second after each capture. A capture that coincides with
# a window takes at least twice as long; with these pauses so few do that p99 hardly changes. The
# backlog then takes some minutes. At full speed tills still get most of the time.
PAUSE_BESIDE_TILLS_SECONDS = 1.0
HURRIED_PAUSE_BESIDE_TILLS_SECONDS = 0.02
AT_WORK_SECONDS = 1.0


class Throttle:
    """Pauses between windows; limits the bandwidth in bytes per second (0: unlimited)."""

    def __init__(
        self,
        bandwidth_bytes_per_second: int = 0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._bandwidth = bandwidth_bytes_per_second
        self._sleep = sleep
        self._hurries = False
        self._pausing: asyncio.Future[object] | None = None
        self._tills_at_work_until = -math.inf

    def skip_pauses(self) -> None:
        """Skip the pauses until `resume_pacing`: an operator waits for the result."""
        self._hurries = True

    def resume_pacing(self) -> None:
        """Resume the pauses."""
        self._hurries = False

    def end_pause(self) -> None:
        """End the current pause: with a low bandwidth limit it can last a minute."""
        if self._pausing is not None:
            self._pausing.cancel()

    def yield_to_tills(self) -> None:
        """Slow down for AT_WORK_SECONDS: a till was served and more captures may follow."""
        self._tills_at_work_until = asyncio.get_running_loop().time() + AT_WORK_SECONDS

    async def pause(self, sent_bytes: int, *, more: bool) -> None:
        """Wait after a window of `sent_bytes` (uncompressed).

        Without `more` there is no backlog, and only the bandwidth limit applies.
        """
        seconds = self._pause_seconds() if more else 0.0
        if self._bandwidth:
            seconds = max(seconds, sent_bytes / self._bandwidth)
        self._pausing = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait([self._pausing])
        finally:
            self._pausing.cancel()
            self._pausing = None

    def _pause_seconds(self) -> float:
        if asyncio.get_running_loop().time() < self._tills_at_work_until:
            return (
                HURRIED_PAUSE_BESIDE_TILLS_SECONDS if self._hurries else PAUSE_BESIDE_TILLS_SECONDS
            )
        return 0.0 if self._hurries else PAUSE_SECONDS
