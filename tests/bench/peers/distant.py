"""A loyalty API with latency, for the replay benchmark.

Each request is answered a fixed time after its last byte, at nearly no CPU cost, so that the
benchmark measures the agent and not a web framework. It parses only the HTTP that the agent
sends. `python -m tests.bench.peers.distant --port N --latency S`.
"""

import argparse
import asyncio
import re
from typing import cast

import msgspec
import uvloop

from tests.bench.peers.terms import EMAIL_ANSWER, SESSION_ANSWER

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class Distant(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, latency_seconds: float) -> None:
        self._latency_seconds = latency_seconds
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Buffer the data; once a request is complete, schedule its answer."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if head.startswith(b"GET "):
            self._transport.write(_ok(b"{}"))
        else:
            self._loop.call_later(self._latency_seconds, self._transport.write, _answer(head, body))


def _answer(head: bytes, body: bytes) -> bytes:
    if head.startswith(b"PUT "):
        return _ok(msgspec.json.encode(EMAIL_ANSWER))
    started = msgspec.json.decode(body)["correlationId"]
    return _ok(msgspec.json.encode(SESSION_ANSWER | {"sessionCorrelationId": started}))


def _ok(document: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(document)}"
    return head.encode() + b"\r\n\r\n" + document


async def serve(port: int, latency_seconds: float) -> None:
    """Serve until stopped."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Distant(latency_seconds), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency", type=float, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.latency))
