"""The way of a request's body into hand: room for its bytes, its arrival, a place, decoding."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import hdrs, web

from sync.receiver.admission.concurrency import Places
from sync.receiver.admission.decompress import Body, decode, decoder_of
from sync.receiver.admission.memory_budget import Budget
from sync.receiver.admission.receive import receive_body
from sync.receiver.auth.tokens import AgentName


@dataclass(frozen=True, slots=True)
class Gate:
    """The way in for one kind of request. `max_bytes` bounds a body, also when it is decoded."""

    budget: Budget
    places: Places
    max_bytes: int

    @asynccontextmanager
    async def body_of(self, request: web.Request, sender: AgentName) -> AsyncIterator[Body]:
        """Give the request's body, decoded; its bytes and its place are held to the end.

        A place is taken only once the body has come whole: while a slow line delivers, others
        are served. Raises `TooBusy`, at once or when there is no room for more, or a `Problem`.
        """
        self.places.check()
        decoder = decoder_of(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        with self.budget.holding(sender, self.places.too_busy) as held:
            body = await receive_body(request, held, self.max_bytes)
            async with self.places.one():
                yield await decode(body, decoder, held, self.max_bytes)
