"""Requests that a till sends to the loyalty API, and a parser for its responses."""

import asyncio
import uuid
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from tests.support.patience import PATIENCE_SECONDS

EMAIL_BODY_BYTES = 35
"""Length of the only body that acknowledges an e-mail answer (`docs/till-api.md`)."""


class Kind(StrEnum):
    """Kind of a till's request."""

    SESSION = "session"
    EMAIL = "email"


class Pair(msgspec.Struct, frozen=True, gc=False):
    """One customer: a session start, then the e-mail address given in it."""

    correlation_id: str
    email_address: str


class Response(msgspec.Struct, frozen=True, gc=False):
    """The fields of an HTTP response that a till reads."""

    status: int
    body: bytes
    receipt: str | None


class MalformedResponseError(ValueError):
    """The server's bytes are not one HTTP/1.1 response with a Content-Length."""


def fresh_pair() -> Pair:
    """Return a customer with a new random id."""
    name = uuid.uuid4()
    return Pair(str(name), f"guest.{name.hex[:16]}@example.com")


def fresh_pairs(count: int | None = None) -> Iterator[Pair]:
    """Yield `count` new customers, or endlessly."""
    made = 0
    while count is None or made < count:
        yield fresh_pair()
        made += 1


class Requests:
    """Builds request bytes for one server; the constant parts are encoded once."""

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        lines = [f"Host: {host}:{port}", "Content-Type: application/json"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        common = "\r\n".join(lines).encode()
        self._session = (
            b"POST /client/users/anonymous/sessions HTTP/1.1\r\n"
            + common
            + b"\r\nContent-Length: %d\r\n\r\n%b"
        )
        self._email = (
            b"PUT /client/users/%b/profile/email HTTP/1.1\r\n"
            + common
            + b"\r\nContent-Length: %d\r\n\r\n%b"
        )

    def session(self, pair: Pair) -> bytes:
        """Return the bytes of a session start (POST)."""
        body = (
            b'{"correlationId":"%b","externalIdentifier":"POS-0007-0001234567",'
            b'"channel":"STORE","locale":"en-CA"}' % pair.correlation_id.encode()
        )
        return self._session % (len(body), body)

    def email(self, pair: Pair) -> bytes:
        """Return the bytes of an accepted e-mail answer (PUT)."""
        body = b'{"emailAddress":"%b","status":"accepted"}' % pair.email_address.encode()
        return self._email % (pair.correlation_id.encode(), len(body), body)


def parse_response(received: bytes) -> Response | None:
    """Parse the one response in `received`; return None while it is incomplete.

    Raises MalformedResponseError, also if bytes follow the body: only one request was sent.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = received[: end + 2]
    lowered = lines.lower()
    length = _header(lines, lowered, b"\r\ncontent-length:")
    if not received.startswith(b"HTTP/1.1 ") or length is None:
        raise MalformedResponseError(f"Not a response with a Content-Length: {lines!r}")
    whole = end + 4 + int(length)
    if len(received) < whole:
        return None
    if len(received) > whole:
        raise MalformedResponseError(f"More than one answer to one question: {received!r}")
    receipt = _header(lines, lowered, b"\r\nloyalty-receipt:")
    return Response(int(received[9:12]), received[end + 4 :], receipt.decode() if receipt else None)


async def send_request(port: int, request: bytes) -> Response:
    """Send one request on a new connection; return the response. Raises ConnectionError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        response = await read_response(reader)
    finally:
        writer.close()
    if response is None:
        raise ConnectionError("the connection ended before the response")
    return response


async def get(port: int, path: str) -> Response:
    """GET `path`. Raises ConnectionError."""
    return await send_request(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


async def read_response(reader: asyncio.StreamReader) -> Response | None:
    """Read one whole response; return None if the connection ends before."""
    received = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (response := parse_response(received)) is None:
            try:
                more = await reader.read(65_536)
            except OSError:
                return None
            if not more:
                return None
            received += more
    return response


def _header(lines: bytes, lowered: bytes, prefix: bytes) -> bytes | None:
    """Return the value of the header with this lower-case prefix; None if absent."""
    at = lowered.find(prefix)
    if at < 0:
        return None
    start = at + len(prefix)
    return lines[start : lines.index(b"\r\n", start)].strip()
