"""Who is in hand, and who waits for a place: by the rules of an `Intake`, in the event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sync.receiver.admission.rate_limit import Intake, TooBusy

# Whoever waits is refused after this; less than an agent waits for its answer.
PATIENCE_SECONDS = 10.0


class Places:
    """The places that an intake has."""

    def __init__(self, intake: Intake, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._intake = intake
        self._patience_seconds = patience_seconds
        self._free = asyncio.Semaphore(intake.max_in_flight)
        self._waiting = 0

    def check(self) -> None:
        """Raise `TooBusy` when whoever comes now would wait for too long, or for nothing."""
        self._intake.check(self._waiting)

    def too_busy(self) -> TooBusy:
        """Return the refusal of whoever comes now, by the intake."""
        return self._intake.too_busy()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a place while the body runs; raises `TooBusy` when none becomes free in time.

        Who has sent a body over a slow line waits, however many wait already: it is not to be
        thrown away because others came in the same moment.
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
