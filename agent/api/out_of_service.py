"""Refuses tills at once while the agent cannot start.

systemd holds the tills' sockets: without an answer a till would wait on an open connection until
its own timeout, at each sale.
"""

import asyncio
import contextlib
import signal
import socket
import uuid
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from agent.api.reasons import REASON, header_value
from agent.api.responses import COMMON_HEADERS, REQUEST_ID, RETRY_AFTER_SECONDS
from sync.protocol.wire import ErrorCode
from sync.runtime.network.http_errors import HttpError, error_response
from sync.runtime.network.request_head import MAX_FIELD_BYTES

# A body that trickles in must not delay the next attempt: meanwhile no till gets an answer.
_SLOW_SECONDS = 1.0
_MESSAGE = "The agent cannot start. The capture was not recorded."


def refuse_requests(sockets: Sequence[socket.socket], seconds: float, reason: str) -> None:
    """Answer every request with 503 for `seconds`, or until SIGTERM or SIGINT."""
    asyncio.run(refuse(sockets, seconds, reason))


async def refuse(sockets: Sequence[socket.socket], seconds: float, reason: str) -> None:
    """Answer every request with 503 for `seconds`, or until SIGTERM or SIGINT."""
    always = COMMON_HEADERS | {
        REASON: header_value(reason),
        "Retry-After": str(RETRY_AFTER_SECONDS),
        "Connection": "close",
    }

    async def refused(_: web.BaseRequest) -> web.StreamResponse:
        headers = always | {REQUEST_ID: str(uuid.uuid4())}
        error = HttpError(HTTPStatus.SERVICE_UNAVAILABLE, _MESSAGE, ErrorCode.UNAVAILABLE, headers)
        return error_response(error)

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = web.Server(
        refused,
        access_log=None,
        lingering_time=_SLOW_SECONDS,
        max_field_size=MAX_FIELD_BYTES,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_SLOW_SECONDS)
    await runner.setup()
    try:
        for listening in sockets:
            await web.SockSite(runner, listening).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopped.wait()
    finally:
        await runner.cleanup()
