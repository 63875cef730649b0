"""Request smuggling: an ambiguous end of a request gets one response and has no effect."""

import re
import uuid

import pytest

from tests.attacks.conftest import Target

# Framing headers of the outer request, and its body up to the smuggled one.
AMBIGUOUS = {
    "length and chunks": ("Content-Length: {length}\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    "chunks and length": ("Transfer-Encoding: chunked\r\nContent-Length: {length}", "0\r\n\r\n"),
    "two lengths": ("Content-Length: 0\r\nContent-Length: {length}", ""),
    "list of lengths": ("Content-Length: 0, {length}", ""),
    "signed length": ("Content-Length: +{length}", ""),
    "length in hex": ("Content-Length: 0x0", ""),
    "length with a separator": ("Content-Length: 0_0", ""),
    "length of other digits": ("Content-Length: \xb2", ""),
    "blank before the colon": ("Content-Length : {length}", ""),
    "chunked twice": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
    "chunked not last": ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    "almost chunked": ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    "quoted chunked": ('Transfer-Encoding: "chunked"', "0\r\n\r\n"),
    "folded chunked": ("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
    "vertical tab": ("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
    "carriage return in a name": ("X: \rTransfer-Encoding: chunked", "0\r\n\r\n"),
    "bare line feed": ("X: a\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    "chunk size with a sign": ("Transfer-Encoding: chunked", "+0\r\n\r\n"),
    "chunk size in C": ("Transfer-Encoding: chunked", "0x0\r\n\r\n"),
    "chunk ends with a line feed": ("Transfer-Encoding: chunked", "0\n\n"),
    "chunk longer than its size": ("Transfer-Encoding: chunked", "1\r\nab\r\n0\r\n\r\n"),
    "line feed in a chunk extension": ("Transfer-Encoding: chunked", "0;a\nb\r\n\r\n"),
}


@pytest.fixture
def smuggled() -> str:
    """Return the id of a session."""
    return str(uuid.uuid4())


def smuggling(target: Target, smuggled: str, framing: str, body: str) -> bytes:
    """Return a write with this framing, followed by a smuggled write of a session."""
    inner = target.capture(smuggled, "Connection: close")
    head = target.request(*target.write, b"", framing.format(length=len(body) + len(inner)))
    return head + body.encode() + inner


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


@pytest.mark.parametrize(("framing", "body"), AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_ambiguous_request_is_refused_and_what_follows_it_is_not_read(
    target: Target, smuggled: str, framing: str, body: str
) -> None:
    received = await target.everything(smuggling(target, smuggled, framing, body))

    assert statuses(received) == [400]
    assert smuggled not in target.sessions()


async def test_request_after_a_clear_one_is_acted_upon(target: Target, smuggled: str) -> None:
    """Control case: the requests above would be acted upon if they were unambiguous."""
    received = await target.everything(smuggling(target, smuggled, "Content-Length: 0", ""))

    assert len(statuses(received)) == 2
    assert smuggled in target.sessions()


async def test_upgrade_does_not_hide_a_second_request(target: Target) -> None:
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    inner = target.request("GET", "/healthz", b"", "Connection: close")

    received = await target.everything(target.request("GET", "/healthz", b"", *upgrade) + inner)

    assert statuses(received) == [200, 200]
