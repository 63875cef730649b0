"""Answers that are written while they are found out: of any length, in bounded memory."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from sync.receiver.server import FOR_ALL

# A reader that takes nothing for so long is cut off.
SILENCE_SECONDS = 30.0


async def stream_json(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Answer with `pieces`, each given up to the line before the next is asked for.

    What goes wrong before the first piece is answered as usual; after it, the connection is cut,
    so that nobody takes a part for the whole.
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
