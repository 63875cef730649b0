"""HTTP byte for byte, for requests and responses that a client library would not allow."""

import asyncio
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response as received."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header (case-insensitive name); None if absent."""
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def receipt(self) -> str | None:
        """The receipt of a capture."""
        return self.header("Loyalty-Receipt")

    def members(self) -> dict[str, object]:
        """Parse the body as a JSON object."""
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


async def exchange(
    host: str, port: int, request: bytes, answers: int, source: str | None = None
) -> list[HttpResponse]:
    """Send bytes on one connection, from an address if given; read this number of responses."""
    local = (source, 0) if source else None
    reader, writer = await asyncio.open_connection(host, port, local_addr=local)
    try:
        writer.write(request)
        with_body = not request.startswith(b"HEAD ")
        return [await read_response(reader, with_body=with_body) for _ in range(answers)]
    finally:
        writer.close()
        await writer.wait_closed()


async def read_response(reader: asyncio.StreamReader, *, with_body: bool) -> HttpResponse:
    """Read the next response of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = [line.split(":", 1) for line in lines]
    headers = tuple((name, value.strip()) for name, value in pairs)
    answer = HttpResponse(int(status_line.split(" ")[1]), headers, b"")
    length = int(answer.header("Content-Length") or 0) if with_body else 0
    return HttpResponse(answer.status, headers, await reader.readexactly(length))
