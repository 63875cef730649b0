"""Response heads as gateways really give them: believed where they can be, else named."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from sync.delivery.outcomes import Blocked, FailureCause, RetryLater
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from tests.support.central import ScriptedCentral
from tests.support.central.gateway import Change, Gateway, with_headers
from tests.support.transports import batch_transport, client_to, replay_transport, sessions, window

KIB = 1024
BODY = b'{"a":1}'
OK = b"HTTP/1.1 200 OK\r\n"
BOM = b"\xef\xbb\xbf"


@asynccontextmanager
async def serving(*parts: bytes) -> AsyncIterator[str]:
    """Serve exactly these bytes on each connection, then close it; yield the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def response_to(*parts: bytes) -> HttpResponse | Blocked | RetryLater:
    """Return what the client makes of these bytes."""
    http = HttpClient(HttpOptions(timeout_seconds=10))
    async with serving(*parts) as url:
        found = await http.request("GET", URL(url), headers={})
    await http.close()
    return found


def with_bom(head: bytes, body: bytes) -> bytes:
    """Send a byte order mark before the body."""
    length = b"Content-Length: %d\r\n"
    return head.replace(length % len(body), length % (len(body) + 3)) + BOM + body


def with_length_twice(head: bytes, body: bytes) -> bytes:
    """Send Content-Length twice, as a gateway does that adds it without a look."""
    return with_headers(b"content-length:%d" % len(body))(head, body)


BELIEVED = [
    pytest.param(with_headers(b"X-Trace: " + b"t" * 9_000), id="a field of 9,000 bytes"),
    pytest.param(with_headers(b"Set-Cookie: " + b"c" * 60 * KIB), id="a cookie of 60 KiB"),
    pytest.param(with_headers(*[b"X-Policy: 1"] * 200), id="200 lines"),
    pytest.param(with_headers(*[b"X-Policy: " + b"p" * 4_000] * 50), id="200 KB in all"),
    pytest.param(with_bom, id="a byte order mark before the JSON"),
    pytest.param(with_length_twice, id="an equal repeated Content-Length"),
]


@pytest.mark.parametrize("change", BELIEVED)
@pytest.mark.parametrize("protocol", ["batch", "replay"])
async def test_captures_are_delivered_through_a_gateway(
    central: ScriptedCentral, change: Change, protocol: str
) -> None:
    build = batch_transport if protocol == "batch" else replay_transport
    async with Gateway(central.url, change) as gateway, client_to(gateway.url) as client:
        delivered = await build(client).send(window(*sessions(1, 3)), probing=False)
    assert delivered.stop is None
    assert len(delivered.results) == len(central.ledger.records) == 3


@pytest.mark.parametrize("change", BELIEVED)
async def test_connection_is_kept_behind_a_gateway(
    central: ScriptedCentral, change: Change
) -> None:
    async with Gateway(central.url, change) as gateway, client_to(gateway.url) as client:
        for _ in range(3):
            assert isinstance(await client.request("GET", "/sync/v1/program"), HttpResponse)
    assert gateway.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 7, 7\r\n\r\n",
        OK + b"Content-Length: 7\r\nCONTENT-LENGTH:   7  \r\nX: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 7\nContent-Length: 7\n\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 7, 7\r\n\r\n",
        b"HTTP/1.1 200 " + b"O" * 9_000 + b"\r\nContent-Length: 7\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1_000])
async def test_head_is_believed_however_it_arrives(head: bytes, size: int) -> None:
    whole = head + BODY
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    found = await response_to(*parts)
    assert isinstance(found, HttpResponse)
    assert (found.status, found.body) == (200, BODY)


async def test_chunks_overrule_a_content_length() -> None:
    """RFC 9112, 6.3: the length in the head does not count."""
    head = OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = await response_to(head + b"7\r\n" + BODY + b"\r\n0\r\n\r\n")
    assert isinstance(found, HttpResponse)
    assert found.body == BODY


async def test_nothing_more_is_read_from_a_sender_of_chunks_and_a_length(
    central: ScriptedCentral,
) -> None:
    """It may be the work of somebody who wants his own text taken for the next response."""

    def confused(head: bytes, body: bytes) -> bytes:
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return with_headers(b"Transfer-Encoding: chunked")(head, framed)

    async with Gateway(central.url, confused) as gateway, client_to(gateway.url) as client:
        for _ in range(3):
            assert isinstance(await client.request("GET", "/sync/v1/program"), HttpResponse)
    assert gateway.connections == 3


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (OK + b"X: " + b"x" * 70 * KIB + b"\r\n\r\n", "a response header of more than 64 KiB"),
        (b"HTTP/1.1 200 " + b"O" * 70 * KIB, "a response header of more than 64 KiB"),
        (OK + b"X: 1\r\n" * 1_100 + b"\r\n", "more than 1,000 response headers"),
        (OK + (b"X: " + b"x" * 40 * KIB + b"\r\n") * 7, "response headers of more than 256 KiB"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, "response headers of more than 256 KiB"),
        (OK + b"Content-Length: 7\r\nContent-Length: 6\r\n\r\n" + BODY, "different lengths"),
        (OK + b"Content-Length: 7, 8\r\n\r\n" + BODY, "different lengths"),
        (OK + b"Content-Length: seven\r\n\r\n" + BODY, "Invalid character in Content-Length"),
        (OK + b"X : a\r\n\r\n", "the response is malformed HTTP: Invalid header token"),
        (OK + b"Content-Encoding: br\r\nContent-Length: 7\r\n\r\n" + BODY, "(Content-Encoding)"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\n" + BODY, "(Content-Encoding)"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Invalid character in chunk size"),
        (b"220 mail.example.com ESMTP\r\n", "the response is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "the response is not HTTP"),
    ],
)
async def test_unusable_head_is_named(sent: bytes, named: str) -> None:
    found = await response_to(sent)
    assert isinstance(found, RetryLater)
    assert found.cause is FailureCause.UNEXPECTED_RESPONSE
    assert named in found.detail


async def test_text_of_a_head_is_never_shown() -> None:
    for line in (b"X-s3cret : a", b"X: s3cret\x00", b"Content-Length: s3cret", b"s3cret"):
        found = await response_to(OK + line + b"\r\n\r\n")
        assert isinstance(found, RetryLater)
        assert "s3cret" not in found.detail


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\n" + BODY + b"\r\n0\r\n"


@pytest.mark.parametrize("begun", [OK, CHUNKED])
async def test_endless_headers_take_bounded_memory(begun: bytes) -> None:
    """Of a head, and of the trailers after a body in chunks."""
    endless = [b"X-%d: %b\r\n" % (n, b"x" * 50_000) for n in range(900)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    found = await response_to(begun, *endless)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 16 * KIB * KIB
    assert isinstance(found, RetryLater)
    assert found.cause is FailureCause.UNEXPECTED_RESPONSE
