"""HTTP server: every error passes the boundary; shutdown lets each request finish."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass

import pytest
from aiohttp import web

from sync.runtime.network.connections import HEAD_SECONDS, ConnectionLimits
from sync.runtime.network.http_errors import error_response, generic_error
from sync.runtime.network.http_server import HttpServer, route_of
from tests.support.raw_http import HttpResponse, exchange

PATIENCE_SECONDS = 10.0
LIMITS = ConnectionLimits(HEAD_SECONDS, idle_seconds=120, most=100)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class FakeBoundary:
    """Records the route and status of each response."""

    def __init__(self) -> None:
        self.completed: list[tuple[str, int]] = []

    def before_routing(self, request: web.BaseRequest) -> web.Response | None:
        return web.Response(text="early") if "X-Early" in request.headers else None

    def error_response(self, request: web.BaseRequest, error: Exception) -> web.Response:
        return error_response(generic_error(error))

    def complete(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        self.completed.append((route_of(request), response.status))


@dataclass
class Served:
    """A running server; its handler sets `asked` and waits for `held`.

    `cut` is set when an endless response is cut off.
    """

    server: HttpServer
    port: int
    boundary: FakeBoundary
    asked: asyncio.Event
    held: asyncio.Event
    cut: asyncio.Event


@asynccontextmanager
async def served(
    *sockets: socket.socket, limits: ConnectionLimits = LIMITS, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Served]:
    asked, held, cut = asyncio.Event(), asyncio.Event(), asyncio.Event()
    held.set()

    async def answer(_: web.BaseRequest) -> web.Response:
        asked.set()
        await held.wait()
        return web.Response(text="here")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(2**16))
        finally:
            cut.set()

    async def fail(_: web.BaseRequest) -> web.Response:
        raise ZeroDivisionError

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/endless", stream)
    app.router.add_get("/broken/{name}", fail)
    boundary = FakeBoundary()
    server = HttpServer(app, boundary, limits=limits, shutdown_seconds=PATIENCE_SECONDS)
    serving = (lambda: tls) if tls else None
    _, port = await server.start("127.0.0.1", 0, tls=serving, inherited=sockets)
    try:
        yield Served(server, port, boundary, asked, held, cut)
    finally:
        await server.close()


async def get(port: int, request: bytes = GET) -> HttpResponse:
    async with asyncio.timeout(PATIENCE_SECONDS):
        (answer,) = await exchange("127.0.0.1", port, request, 1)
    return answer


@pytest.mark.parametrize(
    ("request_", "status", "route"),
    [
        (GET, 200, "/"),
        (GET.replace(b"/ ", b"/broken/x "), 500, "/broken/{name}"),
        (GET.replace(b"/ ", b"/nowhere "), 404, "(none)"),
        (GET.replace(b"GET", b"PUT"), 405, "(none)"),
        (GET.replace(b"Host", b"Expect: a-banana\r\nHost"), 417, "/"),
        (GET.replace(b"Host", b"X-Early: 1\r\nHost"), 200, "(none)"),
        (b"hello\r\n\r\n", 400, "(none)"),
    ],
)
async def test_every_response_passes_the_boundary(request_: bytes, status: int, route: str) -> None:
    async with served() as server:
        answer = await get(server.port, request_)

    assert answer.status == status
    assert server.boundary.completed == [(route, status)]
    if status >= 400:
        assert answer.members()["statusCode"] == status


KIB = 1024
FIELD = b"X: " + b"x" * 60 * KIB + b"\r\n"
OPEN_HEAD = GET.removesuffix(b"\r\n")
CHUNKED = OPEN_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def all_until_closed(port: int, *parts: bytes) -> bytes:
    """Return what the server sends on a connection until it closes it, after all these parts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    with suppress(ConnectionError), closing(writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while content := await reader.read(KIB):
                received += content
    return received


@pytest.mark.parametrize("before", [b"", b"\r\n\r\n", GET + b"\r\n\r\n"])
async def test_endless_head_is_refused_whatever_comes_before_it(before: bytes) -> None:
    """Empty lines before a request are allowed (RFC 9112, 2.2), and do not end its head."""
    async with served() as server:
        received = await all_until_closed(server.port, before, OPEN_HEAD, *[FIELD] * 8)

    assert b" 400 " in received


@pytest.mark.parametrize(
    "body",
    [
        [b"1\r\n{\r\n0\r\n", *[FIELD] * 8],
        [b"1;", *[b"x" * 60 * KIB] * 8],
    ],
    ids=["trailers", "a chunk extension"],
)
async def test_connection_ends_when_a_body_has_endless_framing(body: list[bytes]) -> None:
    """The parser keeps trailers of 8 MiB for every connection, before anybody is authenticated."""
    async with served() as server:
        server.held.clear()
        received = await all_until_closed(server.port, CHUNKED, *body)
        server.held.set()

    assert received == b""


@pytest.mark.parametrize("body", [b"1\r\nx\r\n" * 200 * KIB, b"30d40\r\n" + b"x" * 200_000])
async def test_framing_of_an_honest_body_is_not_limited(body: bytes) -> None:
    async with served() as server:
        received = await all_until_closed(
            server.port,
            CHUNKED,
            body + b"\r\n" * body.endswith(b"x") + b"0\r\n\r\n",
            b"bye\r\n\r\n",
        )

    assert received.startswith(b"HTTP/1.1 200 ")


async def test_invalid_http_closes_its_connection() -> None:
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"hello\r\n\r\n")
        answered = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        writer.close()

    assert answered.startswith(b"HTTP/1.0 400 ")


async def test_connection_is_kept_alive_before_shutdown() -> None:
    async with served() as server:
        assert (await get(server.port)).header("Connection") is None


async def test_response_during_shutdown_closes_its_connection() -> None:
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        await reader.readuntil(b"here")
        closing = asyncio.create_task(server.server.close())
        await asyncio.sleep(0)
        writer.write(GET)
        last = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        assert b"\r\nConnection: close\r\n" in last
        assert last.endswith(b"here")
        writer.close()
        await closing


async def test_slow_request_is_still_answered_during_shutdown() -> None:
    async with served() as server:
        server.held.clear()
        asking = asyncio.create_task(get(server.port))
        await server.asked.wait()
        closing = asyncio.create_task(server.server.close())
        await asyncio.sleep(0)
        server.held.set()
        assert (await asking).status == 200
        await closing


@pytest.fixture
async def slow_opening(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Set the first event when a connection is accepted; open it when the second one is set."""
    accepted, held = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    connect: Callable[..., Awaitable[object]] = loop.connect_accepted_socket

    async def slowly(*arguments: object, **named: object) -> object:
        accepted.set()
        await held.wait()
        return await connect(*arguments, **named)

    monkeypatch.setattr(loop, "connect_accepted_socket", slowly)
    return accepted, held


async def test_connection_accepted_right_before_shutdown_is_answered(
    slow_opening: tuple[asyncio.Event, asyncio.Event],
) -> None:
    accepted, held = slow_opening
    async with served() as server:
        asking = asyncio.create_task(get(server.port))
        await accepted.wait()
        closing = asyncio.create_task(server.server.close())
        await asyncio.sleep(0)
        held.set()
        assert (await asking).status == 200
        await closing


async def test_connection_that_does_not_open_is_closed_at_the_end_of_shutdown(
    monkeypatch: pytest.MonkeyPatch, slow_opening: tuple[asyncio.Event, asyncio.Event]
) -> None:
    monkeypatch.setattr("sync.runtime.network.http_server.LAME_DUCK_SECONDS", 0.01)
    accepted, _ = slow_opening
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await accepted.wait()
        await server.server.close()
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        writer.close()


async def test_closed_listener_refuses_new_connections() -> None:
    async with served() as server:
        await server.server.close()
        with pytest.raises(ConnectionRefusedError):
            await get(server.port)


async def test_connection_to_an_inherited_socket_waits_for_the_next_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as systemds:
        systemds.setblocking(False)
        async with served(systemds.dup()) as first:
            await first.server.close()
            waiting = asyncio.create_task(get(first.port))
            await asyncio.sleep(0)
        assert not waiting.done()
        async with served(systemds.dup()):
            assert (await waiting).status == 200


async def test_close_is_idempotent() -> None:
    async with served() as server:
        await server.server.close()
        await server.server.close()


async def test_shutdown_does_not_wait_for_the_body_of_a_client_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiohttp goes on reading it for ten seconds after the connection is closed."""
    monkeypatch.setattr("sync.runtime.network.http_server.LAME_DUCK_SECONDS", 10 * PATIENCE_SECONDS)
    async with served() as server:
        await get(server.port, GET.replace(b"Host", b"Content-Length: 99\r\nHost"))

        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.server.close()
