"""Bodies on real sockets: decoded, bounded, and refused in words when they are broken."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import zstandard
from aiohttp import ClientSession, web

from sync.receiver import bodies
from sync.receiver.bodies import MAX_BODY_BYTES, read_body
from sync.receiver.problems import Problem, answer_of, problem_of
from tests.agent.raw_http import ask

CONTENT = b'{"some":"content"}' * 100
ZSTD, GZIP = zstandard.compress(CONTENT), gzip.compress(CONTENT, mtime=0)
BIG = b"\0" * (MAX_BODY_BYTES + 1)


@dataclass
class Reading:
    """A server that reads bodies; `outcomes` are the bodies read, and the problems met."""

    port: int = 0
    outcomes: "asyncio.Queue[bytes | Problem]" = field(default_factory=asyncio.Queue)

    async def handle(self, request: web.Request) -> web.Response:
        """Read the body, and tell its length."""
        try:
            body = await read_body(request)
        except Exception as error:  # noqa: BLE001 - the boundary, as in the receiver itself
            problem = problem_of(error)
            self.outcomes.put_nowait(problem)
            return answer_of(problem)
        self.outcomes.put_nowait(body)
        return web.Response(text=str(len(body)))

    async def post(self, body: bytes, encoding: str | None = None) -> tuple[int, str]:
        """Send a body; return status and text of the answer."""
        headers = {} if encoding is None else {"Content-Encoding": encoding}
        url = f"http://127.0.0.1:{self.port}/"
        async with ClientSession() as client, client.post(url, data=body, headers=headers) as got:
            return got.status, await got.text()

    async def read(self, body: bytes, encoding: str | None = None) -> bytes:
        """Send a body; return it as it was read."""
        status, text = await self.post(body, encoding)
        assert status == 200, text
        outcome = self.outcomes.get_nowait()
        assert isinstance(outcome, bytes)
        return outcome


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    one = Reading()
    app = web.Application()
    app.router.add_post("/", one.handle)
    # As the receiver has it.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.port = runner.addresses[0][1]
        yield one
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
async def test_body_is_read_as_it_was_before_it_was_encoded(
    reading: Reading, encoding: str | None, encoded: bytes
) -> None:
    assert await reading.read(encoded, encoding) == CONTENT


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd, gzip", "identity, zstd", "x", "*"])
async def test_unknown_encoding_is_told_what_is_known(reading: Reading, encoding: str) -> None:
    status, text = await reading.post(CONTENT, encoding)

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
async def test_body_that_is_not_what_it_says_is_refused(
    reading: Reading, encoding: str, broken: bytes
) -> None:
    status, text = await reading.post(broken, encoding)

    assert (status, "not what its Content-Encoding says" in text) == (400, True)


@pytest.mark.parametrize("cut", [1, 4, 10, len(ZSTD) - 2, len(ZSTD)])
async def test_zstd_cut_short_is_refused(reading: Reading, cut: int) -> None:
    status, text = await reading.post(ZSTD[:-cut], "zstd")

    assert (status, "not what its Content-Encoding says" in text) == (400, True)


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
async def test_bomb_is_refused_as_too_large(reading: Reading, encoding: str, bomb: bytes) -> None:
    status, text = await reading.post(bomb, encoding)

    assert (status, "PAYLOAD_TOO_LARGE" in text) == (413, True)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_body_of_exactly_the_most_is_read(reading: Reading, encoding: str) -> None:
    most = BIG[:-1]
    encoded = gzip.compress(most, 1) if encoding == "gzip" else zstandard.compress(most)

    assert len(await reading.read(encoded, encoding)) == MAX_BODY_BYTES


async def test_frame_that_wants_more_memory_than_any_should_is_refused(reading: Reading) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()

    status, _ = await reading.post(stream.compress(CONTENT) + stream.flush(), "zstd")

    assert status == 400


async def test_body_announced_too_large_is_not_waited_for(reading: Reading) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"

    [answer] = await ask("127.0.0.1", reading.port, head.encode(), 1)

    assert answer.status == 413


async def test_silent_sender_is_told_so_and_hung_up_on(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.05)

    [answer] = await ask(
        "127.0.0.1", reading.port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 1
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
async def test_line_lost_in_a_body_is_the_callers_trouble_and_not_the_ledgers(
    reading: Reading, broken: bytes
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", reading.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + broken)
    await writer.drain()

    writer.close()
    await writer.wait_closed()

    outcome = await asyncio.wait_for(reading.outcomes.get(), 30)
    assert isinstance(outcome, Problem)
    assert outcome.status == 400
