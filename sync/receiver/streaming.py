"""Stream JSON responses of any length in bounded memory."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from sync.receiver.server import FOR_ALL

# A client that reads nothing for this long is disconnected.
SILENCE_SECONDS = 30.0


async def stream_json(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Respond with `pieces`, with backpressure: each is sent before the next is produced.

    An error before the first piece gets the usual error response. After it, the connection is
    aborted, so that no client takes a partial response for a complete one.
    """
    answer = web.StreamResponse(headers={**FOR_ALL, "Content-Type": "application/json"})
    first = await anext(pieces)
    await answer.prepare(request)
    try:
        await _write(answer, first)
        async for piece in pieces:
            await _write(answer, piece)
        await answer.write_eof()
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise
    return answer


async def _write(answer: web.StreamResponse, piece: bytes) -> None:
    await asyncio.wait_for(answer.write(piece), SILENCE_SECONDS)
