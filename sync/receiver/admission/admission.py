"""Admit a request body: memory budget > receive > concurrency slot > decompress."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import hdrs, web

from sync.receiver.admission.concurrency import ConcurrencyLimiter
from sync.receiver.admission.decompress import Body, decode, decoder_of
from sync.receiver.admission.memory_budget import MemoryBudget
from sync.receiver.admission.receive import receive_body
from sync.receiver.auth.tokens import AgentName


@dataclass(frozen=True, slots=True)
class Gate:
    """Admission for one kind of request. `max_bytes` bounds the body also after decompression."""

    budget: MemoryBudget
    places: ConcurrencyLimiter
    max_bytes: int

    @asynccontextmanager
    async def body_of(self, request: web.Request, sender: AgentName) -> AsyncIterator[Body]:
        """Yield the decompressed body; hold its memory and its concurrency slot until exit.

        The slot is taken only after the whole body has arrived: a slow line must not block
        others. Raises `TooBusy` if overloaded or out of memory budget, or a `Problem`.
        """
        self.places.check()
        decoder = decoder_of(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        with self.budget.holding(sender, self.places.too_busy) as held:
            body = await receive_body(request, held, self.max_bytes)
            async with self.places.one():
                yield await decode(body, decoder, held, self.max_bytes)
