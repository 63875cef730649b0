"""How fast a backlog goes out: beside the tills and the card payments, not before them."""

import asyncio
import math
from collections.abc import Awaitable, Callable

# Between two windows of a backlog: a month's backlog of a busy store takes about a minute.
PAUSE_SECONDS = 0.05
# While tills are at work, as they were within the last second. An answer that meets a window's
# work takes twice as long or more: so few do then that the slowest hundredth hardly shows it.
# The backlog takes some minutes, and nobody at a till waits for it. In a hurry most of the time
# is theirs.
PAUSE_BESIDE_TILLS_SECONDS = 1.0
HURRIED_PAUSE_BESIDE_TILLS_SECONDS = 0.02
AT_WORK_SECONDS = 1.0


class Pacer:
    """Pauses between windows; keeps to a bandwidth where one is set (bytes a second, 0: none)."""

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

    def hurry(self) -> None:
        """Leave the pauses out until `calm_down`: somebody waits for the end of it."""
        self._hurries = True

    def calm_down(self) -> None:
        """Pause again."""
        self._hurries = False

    def cut_short(self) -> None:
        """End the pause under way: on a narrow bandwidth it can last a minute."""
        if self._pausing is not None:
            self._pausing.cancel()

    def give_way(self) -> None:
        """Say that a till has been served: more may follow."""
        self._tills_at_work_until = asyncio.get_running_loop().time() + AT_WORK_SECONDS

    async def pause(self, sent_bytes: int, *, more: bool) -> None:
        """Wait for as long as is due after a window of `sent_bytes`, before compression.

        Where no `more` follow there is no backlog, and only the bandwidth is kept to.
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
