"""HTTP server of both programs: error boundary, listening sockets, graceful shutdown.

aiohttp answers in plain text if a request is not valid HTTP, has an unsupported `Expect` header
or fails in its handler. Here every request passes one boundary, so that every error has the
JSON body of `http_errors` and every response the program's headers.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Protocol, TypeAlias

from aiohttp import web

from sync.protocol.json_object import encode_ascii
from sync.runtime.network.connections import ConnectionLimits, ConnectionTable
from sync.runtime.network.http_connection import HttpConnection
from sync.runtime.network.invalid_http import invalid_http
from sync.runtime.network.listener import Listener, listening_sockets
from sync.runtime.network.loopback import OtherLoopback

# How long open connections are still served during shutdown.
LAME_DUCK_SECONDS = 0.5
_NO_ROUTE = "(none)"
JSON_TYPE = {"Content-Type": "application/json; charset=utf-8"}

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Boundary(Protocol):
    """A program's part of the error boundary."""

    def before_routing(self, request: web.BaseRequest) -> web.Response | None:
        """Return a response to send without routing, None to go on; may raise any error."""

    def error_response(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """Return the response for an error; log and count it."""

    def complete(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add the headers of every response; count it."""


class HttpServer:
    """Serves an application from `start` to `close`.

    Closing all connections at once would cut off requests in flight. So `close` has two steps.
    First stop listening (where systemd holds the socket, new connections wait in its backlog
    for the next process) and answer every request with `Connection: close`. Then wait until
    all connections are closed or `LAME_DUCK_SECONDS` have passed. Requests still in progress
    are cancelled after `shutdown_seconds`.

    `wrap` decorates the router: a fast path can answer some requests before it. On one loopback
    address it listens on the other one too: `other_loopback`.
    """

    def __init__(
        self,
        app: web.Application,
        boundary: Boundary,
        *,
        limits: ConnectionLimits,
        shutdown_seconds: float,
        wrap: Callable[[Handler], Handler] | None = None,
        other_loopback: OtherLoopback | None = None,
    ) -> None:
        # Only starts and cleans up the application: the connections of an `AppRunner` would be
        # aiohttp's own.
        self._app_runner = web.AppRunner(app)
        self._boundary = boundary
        self._table = ConnectionTable(limits)
        self._connection_lost = asyncio.Event()
        self._listener: Listener | None = None
        self._shutdown_seconds = shutdown_seconds
        self._wrap = wrap
        self._runner: web.ServerRunner | None = None
        self._closing = False
        self.other_loopback = other_loopback or OtherLoopback()

    async def start(
        self,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        inherited: Sequence[socket.socket] = (),
    ) -> tuple[str, int]:
        """Listen on the inherited sockets, else on host and port; return the bound address.

        `tls` returns the context for a new connection.
        """
        await self._app_runner.setup()
        plain = self._app_runner.server
        assert plain is not None, "set up above"  # noqa: S101 - for the types
        route: Handler = plain.request_handler
        self._route = self._wrap(route) if self._wrap is not None else route
        server = web.Server(self._handle, request_factory=plain.request_factory)
        self._runner = web.ServerRunner(server, shutdown_timeout=self._shutdown_seconds)
        await self._runner.setup()
        sockets = inherited or await listening_sockets(host, port)
        new_connection = partial(
            HttpConnection, server, self._table, self._answer_broken, self._connection_lost.set
        )
        self._listener = Listener(sockets, self._table, new_connection, tls)
        self._listener.start()
        self.other_loopback.hold(sockets, self._listener.add)
        bound: tuple[str, int] = sockets[0].getsockname()[:2]
        return bound

    async def close(self) -> None:
        """Shut down gracefully (see the class). Idempotent."""
        self.other_loopback.stop()
        if self._listener is not None:
            self._listener.stop()
            self._closing = True
            await self._wait_for_connections()
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._app_runner.cleanup()

    async def _wait_for_connections(self) -> None:
        """Wait until all connections are closed, `LAME_DUCK_SECONDS` at most.

        aiohttp's own list is longer: it keeps a closed connection whose request body is incomplete.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LAME_DUCK_SECONDS):
                while len(self._table):
                    self._connection_lost.clear()
                    await self._connection_lost.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, even if its handler fails."""
        connection = request.protocol
        assert isinstance(connection, HttpConnection), "the listener makes no other"  # noqa: S101 - for the types
        connection.begin(request)
        try:
            response: web.StreamResponse | None = self._boundary.before_routing(request)
            if response is None:
                response = await self._route(request)
        except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a response
            response = self._boundary.error_response(request, error)
        self._boundary.complete(request, response)
        if self._closing or connection.is_to_end:
            response.force_close()
        connection.end()
        return response

    def _answer_broken(
        self, request: web.BaseRequest, status: int, error: BaseException | None
    ) -> web.StreamResponse:
        """Answer a request that is not valid HTTP, then close: its end is unknown."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has already started")
        is_fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        cause = error if is_fault and isinstance(error, Exception) else invalid_http(error)
        response = self._boundary.error_response(request, cause)
        self._boundary.complete(request, response)
        response.force_close()
        return response


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return a response with `content` as JSON, in ASCII."""
    return web.Response(status=status, body=encode_ascii(content), headers=JSON_TYPE)


def route_of(request: web.BaseRequest) -> str:
    """Return the matched pattern. Never log or count the path: it can contain personal data."""
    if not isinstance(request, web.Request):
        return _NO_ROUTE
    try:
        resource = request.match_info.route.resource
    except (AssertionError, AttributeError):
        return _NO_ROUTE  # aiohttp fails here for a request answered before routing
    return resource.canonical if resource else _NO_ROUTE
