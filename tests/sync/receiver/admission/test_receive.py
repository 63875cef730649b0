"""Receiving and decompressing bodies on real sockets: limits and broken input."""

import asyncio
import gzip
import random
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import zstandard
from aiohttp import ClientSession, web

from agent.config.central import SyncSettings
from sync.receiver.admission import receive as bodies
from sync.receiver.admission.decompress import decompress, decompressor_for
from sync.receiver.admission.load_shedding import Overloaded
from sync.receiver.admission.memory_budget import MIB, REQUEST_BYTES, MemoryBudget, Reservation
from sync.receiver.admission.receive import (
    MAX_BODY_BYTES,
    receive_body,
    seconds_allowed,
)
from sync.receiver.auth.tokens import AgentName
from sync.receiver.errors import to_http_error
from sync.runtime.network.http_errors import HttpError, error_response
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import exchange

CONTENT = b'{"some":"content"}' * 100
ZSTD, GZIP = zstandard.compress(CONTENT), gzip.compress(CONTENT, mtime=0)
AGENT = AgentName("0042", "till-1")
BIG = b"\0" * (MAX_BODY_BYTES + 1)


def content_of(size: int) -> bytes:
    """Return bytes that shrink about as much as a batch may."""
    return random.Random(1).randbytes(size // 64).ljust(size, b"\0")


def busy(_: AgentName) -> Overloaded:
    """Reject with Retry-After 7."""
    return Overloaded(7)


@dataclass
class BodyServer:
    """A server that reads bodies; `outcomes` holds the bodies and errors, in order."""

    port: int = 0
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    outcomes: "asyncio.Queue[bytearray | HttpError]" = field(default_factory=asyncio.Queue)

    async def handle(self, request: web.Request) -> web.Response:
        """Read the body; respond with its length."""
        try:
            with self.budget.reserve(AGENT, busy) as reservation:
                decoder = decompressor_for(request.headers.get("Content-Encoding", ""))
                received = await receive_body(request, reservation, MAX_BODY_BYTES)
                body = await decompress(received, decoder, reservation, MAX_BODY_BYTES)
        except Exception as error:  # noqa: BLE001 - error boundary, as in the receiver itself
            http_error = to_http_error(error)
            self.outcomes.put_nowait(http_error)
            return error_response(http_error)
        self.outcomes.put_nowait(body)
        return web.Response(text=str(len(body)))

    async def post(self, body: bytes, encoding: str | None = None) -> tuple[int, str]:
        """Send a body; return status and text of the response."""
        headers = {} if encoding is None else {"Content-Encoding": encoding}
        url = f"http://127.0.0.1:{self.port}/"
        async with ClientSession() as client, client.post(url, data=body, headers=headers) as got:
            return got.status, await got.text()

    async def read(self, body: bytes, encoding: str | None = None) -> bytearray:
        """Send a body; return it as decoded by the server."""
        status, text = await self.post(body, encoding)
        assert status == 200, text
        outcome = self.outcomes.get_nowait()
        assert isinstance(outcome, bytearray)
        return outcome


@pytest.fixture
async def server() -> AsyncIterator[BodyServer]:
    server = BodyServer()
    app = web.Application()
    app.router.add_post("/", server.handle)
    # Same options as the receiver. Not `aiohttp_server`: it cancels handlers on disconnect.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        (None, CONTENT),
        ("", CONTENT),
        ("identity", CONTENT),
        ("gzip", GZIP),
        ("x-gzip", GZIP),
        (" GZip ", GZIP),
        ("zstd", ZSTD),
        ("ZSTD", ZSTD),
        ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(CONTENT)),
        ("zstd", zstandard.ZstdCompressor(level=19, write_checksum=True).compress(CONTENT)),
    ],
)
async def test_body_is_decompressed(
    server: BodyServer, encoding: str | None, encoded: bytes
) -> None:
    assert await server.read(encoded, encoding) == CONTENT


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd, gzip", "identity, zstd", "x", "*"])
async def test_unknown_encoding_error_lists_the_supported_ones(
    server: BodyServer, encoding: str
) -> None:
    status, text = await server.post(CONTENT, encoding)

    assert (status, "must be zstd, gzip or identity" in text) == (415, True)


@pytest.mark.parametrize(
    ("encoding", "broken"),
    [
        pytest.param("gzip", GZIP[:-1], id="gzip cut short"),
        pytest.param("gzip", GZIP[:20], id="gzip cut in the middle"),
        pytest.param("gzip", b"", id="gzip of nothing"),
        pytest.param("gzip", GZIP + b"x", id="gzip and more"),
        pytest.param("gzip", GZIP + GZIP, id="gzip twice"),
        pytest.param("gzip", CONTENT, id="no gzip"),
        pytest.param("gzip", zlib.compress(CONTENT), id="deflate for gzip"),
        pytest.param("gzip", GZIP[:-8] + b"\0" * 8, id="gzip of something else"),
        pytest.param("gzip", ZSTD, id="zstd for gzip"),
        pytest.param("zstd", ZSTD + b"x", id="zstd and more"),
        pytest.param("zstd", ZSTD + ZSTD, id="zstd twice"),
        pytest.param("zstd", ZSTD + b"x" * 9, id="zstd and much more"),
        pytest.param("zstd", CONTENT, id="no zstd"),
        pytest.param("zstd", GZIP, id="gzip for zstd"),
    ],
)
async def test_body_that_does_not_match_its_encoding_is_rejected(
    server: BodyServer, encoding: str, broken: bytes
) -> None:
    status, text = await server.post(broken, encoding)

    assert (status, "does not match its Content-Encoding" in text) == (400, True)


@pytest.mark.parametrize("cut", [1, 4, 10, len(ZSTD) - 2, len(ZSTD)])
async def test_truncated_zstd_is_rejected(server: BodyServer, cut: int) -> None:
    status, text = await server.post(ZSTD[:-cut], "zstd")

    assert (status, "does not match its Content-Encoding" in text) == (400, True)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        pytest.param("gzip", gzip.compress(BIG, 1), id="gzip"),
        pytest.param("zstd", zstandard.compress(BIG), id="zstd that tells its size"),
        pytest.param(
            "zstd",
            zstandard.ZstdCompressor(write_content_size=False).compress(BIG),
            id="zstd that does not",
        ),
    ],
)
async def test_decompression_bomb_is_rejected_as_too_large(
    server: BodyServer, encoding: str, bomb: bytes
) -> None:
    status, text = await server.post(bomb, encoding)

    assert (status, "PAYLOAD_TOO_LARGE" in text) == (413, True)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_body_of_exactly_the_limit_is_accepted(server: BodyServer, encoding: str) -> None:
    most = content_of(MAX_BODY_BYTES)
    encoded = gzip.compress(most, 1) if encoding == "gzip" else zstandard.compress(most)

    assert len(await server.read(encoded, encoding)) == MAX_BODY_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_few_bytes_do_not_become_megabytes(server: BodyServer, encoding: str) -> None:
    """Two thousand bytes wrote 124 MiB into the ledger."""
    few = bytes(5 * MIB)
    encoded = gzip.compress(few, 9) if encoding == "gzip" else zstandard.compress(few)

    status, text = await server.post(encoded, encoding)

    assert (status, "PAYLOAD_TOO_LARGE" in text) == (413, True)


async def test_zstd_frame_with_too_large_a_window_is_rejected(server: BodyServer) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()

    status, _ = await server.post(stream.compress(CONTENT) + stream.flush(), "zstd")

    assert status == 400


async def test_too_large_content_length_is_rejected_at_once(server: BodyServer) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"

    [answer] = await exchange("127.0.0.1", server.port, head.encode(), 1)

    assert answer.status == 413


async def test_silent_sender_gets_408_and_is_disconnected(
    server: BodyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.05)

    [answer] = await exchange(
        "127.0.0.1", server.port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 1
    )

    assert (answer.status, answer.header("Connection")) == (408, "close")
    assert answer.members()["errorCode"] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Length: 99\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_connection_lost_within_a_body_is_a_client_error(
    server: BodyServer, broken: bytes
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + broken)
    await writer.drain()

    writer.close()
    await writer.wait_closed()

    outcome = await asyncio.wait_for(server.outcomes.get(), PATIENCE_SECONDS)
    assert isinstance(outcome, HttpError)
    assert outcome.status == 400


async def start_sending(server: BodyServer, head: str, body: bytes = b"") -> asyncio.StreamWriter:
    """Send the head of a request and a part of its body."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
    await writer.drain()
    return writer


async def until_reserved(server: BodyServer, wanted: int) -> None:
    """Poll until `wanted` bytes are reserved."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.budget.reserved_bytes != wanted:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.001)


async def test_announced_length_is_reserved_in_advance(server: BodyServer) -> None:
    writer = await start_sending(server, "Content-Length: 1000", b"abc")

    await until_reserved(server, REQUEST_BYTES + 1000)

    writer.close()
    await until_reserved(server, 0)


async def test_chunked_body_is_reserved_chunk_by_chunk(server: BodyServer) -> None:
    chunked = "Transfer-Encoding: chunked"
    writer = await start_sending(server, chunked, b"5\r\nabcde\r\n")

    await until_reserved(server, REQUEST_BYTES + 5)

    writer.write(b"3\r\nfgh\r\n")
    await until_reserved(server, REQUEST_BYTES + 8)
    writer.write(b"0\r\n\r\n")
    await until_reserved(server, 0)
    assert server.outcomes.get_nowait() == bytearray(b"abcdefgh")
    writer.close()


async def test_announced_body_beyond_the_budget_is_rejected_at_once(server: BodyServer) -> None:
    server.budget = MemoryBudget(REQUEST_BYTES + 99)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"

    [answer] = await exchange("127.0.0.1", server.port, head, 1)

    assert (answer.status, answer.header("Retry-After")) == (429, "7")


async def test_chunked_body_that_outgrows_the_budget_is_rejected(server: BodyServer) -> None:
    server.budget = MemoryBudget(REQUEST_BYTES + 9)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    [answer] = await exchange("127.0.0.1", server.port, head + b"A\r\n0123456789\r\n", 1)

    assert (answer.status, server.budget.reserved_bytes) == (429, 0)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_decompression_bomb_stays_within_the_budget(
    server: BodyServer, encoding: str
) -> None:
    server.budget = MemoryBudget(REQUEST_BYTES + MIB)
    content = bytes(12 * MIB)
    bomb = gzip.compress(content, 1) if encoding == "gzip" else zstandard.compress(content)

    status, _ = await server.post(bomb, encoding)

    assert (status, server.budget.reserved_bytes) == (429, 0)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_decompression_keeps_no_second_copy(encoding: str) -> None:
    """Allowed beside the body: a growing bytearray's spare eighth, and one chunk."""
    content = content_of(MAX_BODY_BYTES)
    encoded = gzip.compress(content, 1) if encoding == "gzip" else zstandard.compress(content)
    tracemalloc.start()
    try:
        with MemoryBudget(256 * MIB).reserve(AGENT, busy) as reservation:
            received = bytearray(encoded)
            tracemalloc.reset_peak()
            await decompress(received, decompressor_for(encoding), reservation, MAX_BODY_BYTES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < len(content) * 9 / 8 + 8 * MIB


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 2 * MIB, 3 * MIB - 1])
async def test_gzip_of_any_size_is_read_completely(server: BodyServer, size: int) -> None:
    content = bytes(size)

    assert await server.read(gzip.compress(content, 1), "gzip") == content


async def test_dripping_sender_is_disconnected(
    server: BodyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "START_SECONDS", 0.05)
    monkeypatch.setattr(bodies, "SLOWEST_BYTES_PER_SECOND", 1e9)
    writer = await start_sending(server, "Content-Length: 1000000")

    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.outcomes.empty():
            writer.write(b"x")
            await asyncio.sleep(0.001)

    outcome = server.outcomes.get_nowait()
    assert isinstance(outcome, HttpError)
    assert outcome.status == 408
    writer.close()


def test_slow_honest_line_is_accepted() -> None:
    """A batch of 1 MiB over a quarter of 64 kbit/s takes 524 seconds."""
    per_second = 64_000 / 8 / 4

    assert all(
        received / per_second < seconds_allowed(received) for received in range(0, MIB + 1, 1000)
    )


def test_longest_body_timeout_equals_the_agents_longest_timeout() -> None:
    longest = SyncSettings.model_validate({"timeout_seconds": 600}).timeout_seconds

    assert seconds_allowed(MAX_BODY_BYTES) == longest


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_large_body_is_not_decompressed_in_the_event_loop(encoding: str) -> None:
    """Even if it is small when compressed."""
    content = content_of(16 * MIB)
    encoded = gzip.compress(content, 1) if encoding == "gzip" else zstandard.compress(content)
    in_the_loop = 0

    class Watched(Reservation):
        def add(self, more_bytes: int) -> None:
            nonlocal in_the_loop
            if threading.current_thread() is threading.main_thread():
                in_the_loop += more_bytes
            super().add(more_bytes)

    watched, decoder = Watched(MemoryBudget(), AGENT), decompressor_for(encoding)
    decoded = await decompress(bytearray(encoded), decoder, watched, MAX_BODY_BYTES)

    assert decoded == content
    assert in_the_loop < len(content) / 2
