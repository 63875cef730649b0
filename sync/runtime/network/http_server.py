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
from http import HTTPStatus
from typing import Protocol, TypeAlias, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.web_protocol import _ErrInfo

from sync.protocol.json_object import encode_ascii
from sync.runtime.network.connections import Connection, ConnectionLimits, ConnectionTable, Phase
from sync.runtime.network.invalid_http import invalid_http
from sync.runtime.network.listener import Listener, listening_sockets
from sync.runtime.network.loopback import OtherLoopback
from sync.runtime.network.request_head import (
    MAX_FIELD_BYTES,
    MAX_HEAD_BYTES,
    LargeHead,
    RequestHead,
)

# How long open connections are still served during shutdown.
LAME_DUCK_SECONDS = 0.5
# A connection buffers about twice this of an unread body: before its sender is authenticated,
# and so outside of any memory budget.
_UNREAD_BYTES = 32 * 1024
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
        server = _Server(plain, self._handle, self._answer_broken, self._table)
        server.on_connection_lost = self._connection_lost.set
        self._runner = web.ServerRunner(server, shutdown_timeout=self._shutdown_seconds)
        await self._runner.setup()
        sockets = inherited or await listening_sockets(host, port)
        self._listener = Listener(sockets, self._table, server.new_connection, tls)
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
        assert isinstance(connection, _Connection), "made by `_Server`"  # noqa: S101 - for the types
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


_AnswerBroken: TypeAlias = Callable[
    [web.BaseRequest, int, BaseException | None], web.StreamResponse
]


class _Server(web.Server):
    """An aiohttp server with connections of type `_Connection`."""

    def __init__(
        self,
        plain: web.Server,
        handler: Handler,
        answer_broken: _AnswerBroken,
        table: ConnectionTable,
    ) -> None:
        super().__init__(handler, request_factory=plain.request_factory)
        self.answer_broken = answer_broken
        self.table = table
        self.on_connection_lost: Callable[[], None] = lambda: None

    def new_connection(self, connection: Connection) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, connection)


class _Connection(web.RequestHandler):
    """A connection that keeps its entry in the `ConnectionTable` up to date.

    It answers invalid HTTP with the JSON error body.
    """

    __slots__ = (
        "_answer_broken",
        "_content",
        "_entry",
        "_framing_bytes",
        "_head",
        "_is_broken",
        "_newest",
        "_now",
        "_on_lost",
        "_table",
    )

    def __init__(self, server: _Server, entry: Connection) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            # The same limit as in the table, which also has those that aiohttp lacks.
            keepalive_timeout=server.table.limits.idle_seconds,
            # An access log would double the cost of a till's request. None is documented.
            access_log=None,  # type: ignore[arg-type]
            # The APIs decompress bodies themselves, with a limit for their size.
            auto_decompress=False,
            read_bufsize=_UNREAD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
        )
        self._head = RequestHead()
        self._is_broken = False
        # Bytes since the newest request's body last grew: trailers, chunk extensions.
        self._framing_bytes = 0
        # The body of the newest request that has arrived; `_content` is that of the one answered.
        self._newest: StreamReader = EMPTY_PAYLOAD
        self._answer_broken = server.answer_broken
        self._table = server.table
        self._on_lost = server.on_connection_lost
        self._entry = entry
        self._now = loop.time
        self._content: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        super().connection_made(transport)
        writing = cast("asyncio.Transport", transport)
        self._entry.abort, self._entry.unsent = writing.abort, writing.get_write_buffer_size
        self._entry.is_receiving = self._is_receiving

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give up the connection."""
        self._table.remove(self._entry)
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Note the first byte of a head; the rest of an unread body is none."""
        if self._entry.phase is Phase.IDLE and data and not self._is_receiving():
            self._entry.enter(Phase.HEAD, self._now())
        if self._is_broken:
            return
        if self._newest.is_eof():
            self._parse(self._head.receive(data))
        else:
            self._receive_body(self._newest, data)

    def _receive_body(self, body: StreamReader, data: bytes) -> None:
        """Pass on a part of a body; end a connection that sends much without adding to the body."""
        before = body.total_bytes
        self._parse(data)
        self._framing_bytes = self._framing_bytes + len(data) if body.total_bytes == before else 0
        if self._framing_bytes > MAX_HEAD_BYTES:
            self._entry.abort()

    def _parse(self, data: bytes) -> None:
        """Pass on `data`, and look at the newest request. aiohttp has no public way to it."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before and self._messages:
            message, self._newest = self._messages[-1]
            # The parser would fail again with each further piece, and keep it with its error.
            self._is_broken = isinstance(message, _ErrInfo)
            self._head.begin()
            self._framing_bytes = 0

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self._entry.pause_writing(self._now())
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer reads again."""
        self._entry.resume_writing(self._now())
        super().resume_writing()

    def begin(self, request: web.BaseRequest) -> None:
        """Note that a request is being answered."""
        self._content = request.content
        self._entry.enter(Phase.ACTIVE, self._now())

    @property
    def is_to_end(self) -> bool:
        """True if other connections need the place after this response."""
        return self._table.is_to_end(self._entry)

    def end(self) -> None:
        """Note that the response is complete; it may not be sent yet."""
        self._entry.enter(Phase.IDLE, self._now())

    def _is_receiving(self) -> bool:
        return not self._content.is_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the signature is aiohttp's
    ) -> web.StreamResponse:
        """Answer a request that is not valid HTTP."""
        return self._answer_broken(request, status, LargeHead() if self._head.is_too_large else exc)
