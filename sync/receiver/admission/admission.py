"""Admit a request: memory budget > receive the body > concurrency slot > decompress.

The slot is taken only after the whole body has arrived: a slow line must not block others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import hdrs, web

from sync.receiver.admission.decompress import decompress, decompressor_for
from sync.receiver.admission.load_shedding import LoadShedder
from sync.receiver.admission.memory_budget import MemoryBudget
from sync.receiver.admission.receive import receive_body
from sync.receiver.auth.tokens import AgentName

# Maximum wait for a slot; shorter than an agent's request timeout.
PATIENCE_SECONDS = 10.0


class ConcurrencyLimiter:
    """Semaphore with a bounded wait. Not thread-safe; event loop only."""

    def __init__(self, shedder: LoadShedder, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._shedder = shedder
        self._patience_seconds = patience_seconds
        self._free = asyncio.Semaphore(shedder.max_in_flight)
        self._waiting = 0

    def check(self) -> None:
        """Raise `Overloaded` if a new request would be rejected or wait too long for a slot."""
        self._shedder.check(self._waiting)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot until exit; raise `Overloaded` if none becomes free in time.

        No check of the queue length here: a body that already arrived over a slow line must not
        be thrown away because others arrived at the same moment.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise self._shedder.rejection() from None
        finally:
            self._waiting -= 1
        try:
            with self._shedder.measured():
                yield
        finally:
            self._free.release()


class Admission:
    """Admission for one kind of request. `max_bytes` bounds the body also after decompression."""

    def __init__(self, budget: MemoryBudget, shedder: LoadShedder, max_bytes: int) -> None:
        self.budget = budget
        self.shedder = shedder
        self._limiter = ConcurrencyLimiter(shedder)
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def admit(self, request: web.Request, sender: AgentName) -> AsyncIterator[bytearray]:
        """Yield the decompressed body; hold its memory and its concurrency slot until exit.

        Raises `Overloaded` if overloaded or out of memory budget, or an `HttpError`.
        """
        self._limiter.check()
        decompressor = decompressor_for(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        with self.budget.reserve(sender, self.shedder.rejection) as reservation:
            body = await receive_body(request, reservation, self._max_bytes)
            async with self._limiter.slot():
                yield await decompress(body, decompressor, reservation, self._max_bytes)
