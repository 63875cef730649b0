"""A gateway in front of head office, on a real socket, that changes responses byte for byte."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Self

from yarl import URL

# From the head and body of head office's response to the bytes that the gateway sends instead.
Change = Callable[[bytes, bytes], bytes]
_LENGTH = re.compile(rb"(?im)^content-length: *([0-9]+)\r$")


def unchanged(head: bytes, body: bytes) -> bytes:
    """Pass on the response as it is."""
    return head + body


def with_headers(*lines: bytes) -> Change:
    """Add header lines in front of head office's own."""

    def change(head: bytes, body: bytes) -> bytes:
        status, _, rest = head.partition(b"\r\n")
        return b"\r\n".join([status, *lines, rest]) + body

    return change


class Gateway:
    """Relays requests to the server at `target`. `change` may be set at any time."""

    def __init__(self, target: str, change: Change = unchanged) -> None:
        self._target = URL(target)
        self._server: asyncio.Server | None = None
        self.change = change
        self.requests: list[bytes] = []
        self.connections = 0

    @property
    def url(self) -> str:
        """Return the base URL."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head, body = await _message(reader)
                self.requests.append(head)
                writer.write(self.change(*await self._ask(head + body)))
                await writer.drain()

    async def _ask(self, request: bytes) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection(self._target.host, self._target.port)
        with contextlib.closing(writer):
            writer.write(request)
            return await _message(reader)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1]) if length else 0)
