"""How fast a backlog goes out: beside the tills and the card payments, not before them."""

import asyncio
from collections.abc import Awaitable, Callable

# Between two windows of a backlog. A till's answer waits behind a window's work; with this
# pause it hardly notices, and a month's backlog of a busy store still takes about a minute.
PAUSE_SECONDS = 0.05


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

    def hurry(self) -> None:
        """Leave the pauses out until `calm_down`: somebody waits for the end of it."""
        self._hurries = True

    def calm_down(self) -> None:
        """Pause again."""
        self._hurries = False

    async def pause(self, sent_bytes: int) -> None:
        """Wait for as long as is due after a window of `sent_bytes`, before compression."""
        seconds = 0.0 if self._hurries else PAUSE_SECONDS
        if self._bandwidth:
            seconds = max(seconds, sent_bytes / self._bandwidth)
        await self._sleep(seconds)
