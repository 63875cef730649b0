"""Receive a request body with limits on size, silence and total time."""

import asyncio

from aiohttp import web

from sync.receiver.admission.decompress import too_large_for
from sync.receiver.admission.memory_budget import Reservation
from sync.runtime.network.http_errors import bad_request, timed_out

# An agent sends 1 MiB by default, and halves its batches after a 413.
MAX_BODY_BYTES = 16 * 1024 * 1024
# Ten times the size of a heartbeat with the maximum number of epochs.
MAX_HEARTBEAT_BYTES = 1024 * 1024
# Read timeout between two chunks: a slow line is fine, a silent one is not.
SILENCE_SECONDS = 30.0
# Total timeout against slowloris: a dripping client would pin its announced bytes. Honest slow
# lines exist: 64 kbit/s is 8000 bytes/s, and card payments may use most of it. So the deadline
# is a free start plus the time at 1000 bytes/s, capped at the longest that any agent waits for
# a response (`sync.timeout_seconds`).
START_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1000.0
LONGEST_SECONDS = 600.0


async def receive_body(request: web.Request, reservation: Reservation, max_bytes: int) -> bytearray:
    """Read the whole body and reserve its bytes, in advance if Content-Length is given.

    Raises `MemoryBudgetExceeded`, or an `HttpError` if the body is too large,
    too slow or incomplete.
    """
    announced = request.content_length
    if (announced or 0) > max_bytes:
        raise too_large_for(max_bytes)
    if announced is not None:
        reservation.add(announced)
    body, now = bytearray(), asyncio.get_running_loop().time
    began = now()
    try:
        while True:
            silent_at, slow_at = now() + SILENCE_SECONDS, began + seconds_allowed(len(body))
            async with asyncio.timeout_at(min(silent_at, slow_at)):
                chunk = await request.content.readany()
            if not chunk:
                return body
            if announced is None:
                reservation.add(len(chunk))
            if len(body) + len(chunk) > max_bytes:
                raise too_large_for(max_bytes)
            body += chunk
    except TimeoutError:
        raise timed_out("The request body did not arrive in time") from None
    except (web.RequestPayloadError, ConnectionError):
        raise bad_request("The request body is broken or incomplete") from None


def seconds_allowed(received_bytes: int) -> float:
    """Return the deadline, in seconds after the start, for a body of `received_bytes` so far."""
    return min(LONGEST_SECONDS, START_SECONDS + received_bytes / SLOWEST_BYTES_PER_SECOND)
