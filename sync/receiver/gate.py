"""The way of a request's body into hand: room for its bytes, its arrival, a place, decoding."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from sync.receiver.bodies import Body, decode, receive_body
from sync.receiver.budget import Budget
from sync.receiver.places import Places
from sync.receiver.tokens import AgentName


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
        with self.budget.holding(sender, self.places.too_busy) as held:
            received = await receive_body(request, held, self.max_bytes)
            async with self.places.one():
                yield await decode(received, held, self.max_bytes)
