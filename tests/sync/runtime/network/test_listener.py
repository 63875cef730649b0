"""Connections of the HTTP server: deadlines, the bound, and a process without descriptors."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sync.runtime.network import connections
from sync.runtime.network.connections import ConnectionLimits
from sync.runtime.network.http_connection import HttpConnection
from tests.support.certificates import make_certificate
from tests.support.raw_http import read_response
from tests.sync.runtime.network.test_http_server import GET, PATIENCE_SECONDS, get, served

BRIEF = 0.1
LONG = 1000.0
NO_HEADS = ConnectionLimits(head_seconds=BRIEF, idle_seconds=LONG, most=100)
NO_IDLERS = ConnectionLimits(head_seconds=LONG, idle_seconds=BRIEF, most=100)
USUAL = ConnectionLimits(head_seconds=10.0, idle_seconds=LONG, most=100)
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PassTime = Callable[[float], Awaitable[None]]


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    """Open a connection; close it at exit."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(one: Line, request: bytes = GET) -> int:
    """Send a request on an open connection; return the status of its response."""
    one[1].write(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        return (await read_response(one[0], with_body=True)).status


@pytest.fixture
async def pass_time(monkeypatch: pytest.MonkeyPatch) -> PassTime:
    """Return a function that sets the loop's clock forward and lets the due timers run."""
    loop = asyncio.get_running_loop()
    time, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: time() + ahead)

    async def pass_time(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        for _ in range(3):
            await asyncio.sleep(0)

    return pass_time


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that is set when the server has received something."""
    receive, received = HttpConnection.data_received, asyncio.Event()

    def data_received(connection: HttpConnection, data: bytes) -> None:
        receive(connection, data)
        received.set()

    monkeypatch.setattr(HttpConnection, "data_received", data_received)
    return received


async def is_closed(one: Line) -> bool:
    """Wait until the server closes the connection; return whether it did so without a word."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await one[0].read() == b""
    except ConnectionError:
        return True


async def test_connection_that_never_sends_a_request_is_closed() -> None:
    async with served(limits=NO_HEADS) as server, line(server.port) as silent:
        assert await is_closed(silent)


async def test_head_that_drips_is_closed() -> None:
    async with served(limits=NO_HEADS) as server, line(server.port) as dripping:
        closing = asyncio.create_task(is_closed(dripping))
        dripping[1].write(b"GET /")
        while not closing.done():
            dripping[1].write(b"a")
            await asyncio.sleep(BRIEF / 10)

        assert closing.result()


async def test_later_head_that_drips_is_closed(
    pass_time: PassTime, received: asyncio.Event
) -> None:
    async with served(limits=USUAL) as server, line(server.port) as dripping:
        status = await ask(dripping)
        received.clear()
        dripping[1].write(GET[:-2])
        await received.wait()
        await pass_time(USUAL.head_seconds + 1)

        assert (status, await is_closed(dripping)) == (200, True)


async def test_connection_between_two_requests_is_kept_longer_than_a_head_may_take(
    pass_time: PassTime,
) -> None:
    async with served(limits=USUAL) as server, line(server.port) as idle:
        first = await ask(idle)
        await pass_time(3 * USUAL.head_seconds)

        assert (first, await ask(idle)) == (200, 200)


async def test_idle_connection_is_closed() -> None:
    async with served(limits=NO_IDLERS) as server, line(server.port) as idle:
        assert (await ask(idle), await is_closed(idle)) == (200, True)


async def test_slow_answer_is_not_cut_by_any_deadline(
    pass_time: PassTime,
) -> None:
    async with served(limits=USUAL) as server, line(server.port) as one:
        server.held.clear()
        one[1].write(GET)
        await server.asked.wait()
        await pass_time(4 * LONG)
        server.held.set()

        assert (await read_response(one[0], with_body=True)).status == 200


async def test_rest_of_an_unread_body_is_not_taken_for_a_head(
    pass_time: PassTime, received: asyncio.Event
) -> None:
    post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\nabc")
    async with served(limits=USUAL) as server, line(server.port) as one:
        refused = await ask(one, post)
        received.clear()
        one[1].write(b"def")
        await received.wait()
        await pass_time(3 * USUAL.head_seconds)

        assert (refused, await ask(one)) == (405, 200)


async def test_tls_handshake_that_never_ends_is_closed(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path).served()
    async with served(limits=NO_HEADS, tls=tls) as server, line(server.port) as silent:
        assert await is_closed(silent)


async def test_handshakes_count_for_the_bound_and_the_oldest_is_closed_first(
    tmp_path: Path,
) -> None:
    tls = make_certificate(tmp_path).served()
    async with (
        served(limits=ConnectionLimits(LONG, LONG, most=1), tls=tls) as server,
        line(server.port) as first,
        line(server.port),
    ):
        assert await is_closed(first)


async def test_at_the_bound_the_longest_idle_connection_is_closed() -> None:
    async with (
        served(limits=ConnectionLimits(LONG, LONG, most=2)) as server,
        line(server.port) as first,
        line(server.port) as second,
    ):
        before = [await ask(second), await ask(first)]
        third = await get(server.port)
        closed = await is_closed(second)

        assert (before, third.status, closed, await ask(first)) == ([200, 200], 200, True, 200)


async def test_newcomer_is_refused_while_all_connections_are_active(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(limits=ConnectionLimits(LONG, LONG, most=1)) as server:
        server.held.clear()
        asking = asyncio.create_task(get(server.port))
        await server.asked.wait()
        for _ in range(3):
            async with line(server.port) as newcomer:
                assert await is_closed(newcomer)
        server.held.set()

        assert (await asking).status == 200
    refused = [record.__dict__["fields"]["refused"] for record in caplog.records]
    assert refused == [1, 2], "the first at once, the sum of the others later"


async def test_response_that_its_peer_does_not_read_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "WRITE_STALL_SECONDS", BRIEF)
    async with served(limits=NO_IDLERS) as server, line(server.port) as one:
        one[1].write(GET.replace(b"/ ", b"/endless "))
        await asyncio.wait_for(server.cut.wait(), PATIENCE_SECONDS)


async def test_server_accepts_again_by_itself_after_it_ran_out_of_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It closes the longest idle connection, and tries again a moment later."""
    accept, failures = socket.socket.accept, 3

    def failing_first(listening: socket.socket) -> tuple[socket.socket, object]:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    async with served() as server, line(server.port) as idle:
        await ask(idle)
        monkeypatch.setattr(socket.socket, "accept", failing_first)
        answer = await get(server.port)

        assert (answer.status, await is_closed(idle)) == (200, True)
    exhausted = [record for record in caplog.records if record.msg == "http.out_of_descriptors"]
    assert [record.__dict__["fields"]["failed"] for record in exhausted] == [1, 2]
