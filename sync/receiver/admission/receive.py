"""Receiving a request body: complete, in time, and of a bounded size."""

import asyncio
from http import HTTPStatus

from aiohttp import StreamReader, web

from sync.protocol.wire import ErrorCode
from sync.receiver.admission.decompress import Body, too_large_for
from sync.receiver.admission.memory_budget import Holding
from sync.receiver.errors import Problem, invalid

MAX_BODY_BYTES = 64 * 1024 * 1024
# Ten times what the most epochs take that a heartbeat may name.
MAX_HEARTBEAT_BYTES = 1024 * 1024
# Between two pieces: a slow line is fine, a silent one is not.
SILENCE_SECONDS = 30.0
# Nor is a line that drips, and holds with every byte what it has announced. Slow is honest: of
# the 64 kbit/s of an old line, 8000 bytes a second, card payments may take the most. So a body
# may take as long as it would at 1000 bytes a second, after a start that is free; and no longer
# than an agent ever waits for an answer (`sync.timeout_seconds`), as then nobody wants it.
START_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1000.0
LONGEST_SECONDS = 600.0


async def receive_body(request: web.Request, held: Holding, max_bytes: int) -> Body:
    """Read a body to its end; what it takes is held, in advance where its length is known.

    Raises `NoRoom`, or a `Problem` where it is too large, too slow or incomplete.
    """
    announced = request.content_length
    if (announced or 0) > max_bytes:
        raise too_large_for(max_bytes)
    if announced is not None:
        held.add(announced)
    content, arrival = bytearray(), _Arrival(request.content)
    try:
        while piece := await arrival.piece():
            if announced is None:
                held.add(len(piece))
            if len(content) + len(piece) > max_bytes:
                raise too_large_for(max_bytes)
            content += piece
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "The request body did not arrive in time",
            ErrorCode.INVALID_REQUEST,
            {"Connection": "close"},
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise invalid("The request body is broken or incomplete") from None
    return content


def seconds_allowed(received_bytes: int) -> float:
    """Return how long after its start a body of which so much has come may still go on."""
    return min(LONGEST_SECONDS, START_SECONDS + received_bytes / SLOWEST_BYTES_PER_SECOND)


class _Arrival:
    """A body on its way."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._received_bytes = 0

    async def piece(self) -> bytes:
        """Return what has come next, nothing at the end. Raises `TimeoutError` if it is slow."""
        silent_at = self._now() + SILENCE_SECONDS
        slow_at = self._began + seconds_allowed(self._received_bytes)
        async with asyncio.timeout_at(min(silent_at, slow_at)):
            piece = await self._content.readany()
        self._received_bytes += len(piece)
        return piece
