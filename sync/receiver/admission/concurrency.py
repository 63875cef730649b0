"""Limit concurrent requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sync.receiver.admission.rate_limit import Intake, TooBusy

# Maximum wait for a slot; shorter than an agent's request timeout.
PATIENCE_SECONDS = 10.0


class ConcurrencyLimiter:
    """Concurrency limiter for one `Intake`. Not thread-safe; event loop only."""

    def __init__(self, intake: Intake, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._intake = intake
        self._patience_seconds = patience_seconds
        self._free = asyncio.Semaphore(intake.max_in_flight)
        self._waiting = 0

    def check(self) -> None:
        """Raise `TooBusy` if a new request would be rejected or wait too long for a slot."""
        self._intake.check(self._waiting)

    def too_busy(self) -> TooBusy:
        """Return the intake's rejection for a new request."""
        return self._intake.too_busy()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot until exit; raise `TooBusy` if none becomes free in time.

        No check of the queue length here: a body that already arrived over a slow line must not
        be thrown away because others arrived at the same moment.
        """
        await self._take()
        try:
            with self._intake.serving():
                yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise self.too_busy() from None
        finally:
            self._waiting -= 1
