"""Reading a request body: complete, in time, and of a bounded size before and after decoding."""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

import zstandard
from aiohttp import StreamReader, hdrs, web

from sync.receiver.budget import Holding
from sync.receiver.problems import OwnCode, Problem, invalid, too_large
from sync.wire import ErrorCode

MAX_BODY_BYTES = 64 * 1024 * 1024
# Ten times what the most epochs take that a heartbeat may name.
MAX_HEARTBEAT_BYTES = 1024 * 1024
# Between two pieces: a slow line is fine, a silent one is not.
SILENCE_SECONDS = 30.0
# Nor is a line that drips, and holds with every byte what it has announced. Slow is honest: of
# the 64 kbit/s of an old line, 8000 bytes a second, card payments may take the most. So a body
# may take as long as it would at 1000 bytes a second, after a start that is free; and no longer
# than an agent ever waits for an answer (`sync.timeout_seconds`), as then nobody wants it.
START_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1000.0
LONGEST_SECONDS = 600.0
# What takes longer than a few milliseconds to decode is not done in the event loop: from so many
# decoded bytes on.
_LARGE_BYTES = 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 8878: what every decoder should support
# So much of a zstd frame becomes 4 MiB at the very most: four bytes can stand for 128 KiB.
_ZSTD_PIECE_BYTES = 128
_GZIP_PIECE_BYTES, _GUNZIPPED_PIECE_BYTES = 64 * 1024, 1024 * 1024
_GZIP_WINDOW_BITS = 31
_NOT_DECODABLE = "The request body is not what its Content-Encoding says"

Body: TypeAlias = bytearray
_Decoder: TypeAlias = Callable[[Body], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Received:
    """A body as it came. `decoder` is None where it is not encoded."""

    content: Body
    decoder: _Decoder | None


async def receive_body(
    request: web.Request, held: Holding, max_bytes: int = MAX_BODY_BYTES
) -> Received:
    """Read a body to its end; what it takes is held, in advance where its length is known.

    Raises `NoRoom`, or a `Problem` where it is too large, too slow, incomplete, or of an unknown
    `Content-Encoding`.
    """
    decoder = _decoder_of(request)
    announced = request.content_length
    if (announced or 0) > max_bytes:
        raise _too_large(max_bytes)
    if announced is not None:
        held.add(announced)
    content, arrival = bytearray(), _Arrival(request.content)
    try:
        while piece := await arrival.piece():
            if announced is None:
                held.add(len(piece))
            if len(content) + len(piece) > max_bytes:
                raise _too_large(max_bytes)
            content += piece
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "The request body did not arrive in time",
            ErrorCode.INVALID_REQUEST,
            {"Connection": "close"},
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise invalid("The request body is broken or incomplete") from None
    return Received(content, decoder)


async def decode(received: Received, held: Holding, max_bytes: int = MAX_BODY_BYTES) -> Body:
    """Return the body as it was before it was encoded; of what came nothing is left.

    Raises `NoRoom`, or a `Problem` where it is too large then, or not what it says it is.
    """
    if received.decoder is None:
        return received.content
    decoding = _Decoding(received.decoder(received.content), held, max_bytes)
    if not decoding.reached_its_end(_LARGE_BYTES):
        await asyncio.to_thread(decoding.reached_its_end, max_bytes)
    held.give_back(len(received.content))
    received.content.clear()
    return decoding.body


def seconds_allowed(received_bytes: int) -> float:
    """Return how long after its start a body of which so much has come may still go on."""
    return min(LONGEST_SECONDS, START_SECONDS + received_bytes / SLOWEST_BYTES_PER_SECOND)


class _Arrival:
    """A body on its way."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._received_bytes = 0

    async def piece(self) -> bytes:
        """Return what has come next, nothing at the end. Raises `TimeoutError` if it is slow."""
        silent_at = self._now() + SILENCE_SECONDS
        slow_at = self._began + seconds_allowed(self._received_bytes)
        async with asyncio.timeout_at(min(silent_at, slow_at)):
            piece = await self._content.readany()
        self._received_bytes += len(piece)
        return piece


class _Decoding:
    """A body that grows as it is decoded."""

    def __init__(self, pieces: Iterator[bytes], held: Holding, max_bytes: int) -> None:
        self.body = bytearray()
        self._pieces = pieces
        self._held = held
        self._max_bytes = max_bytes

    def reached_its_end(self, enough_bytes: int) -> bool:
        """Go on until there is enough; tell whether that was all."""
        for piece in self._pieces:
            if len(self.body) + len(piece) > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._held.add(len(piece))
            self.body += piece
            if len(self.body) > enough_bytes:
                return False
        return True


def _gunzipped(body: Body) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        for start in range(0, len(body), _GZIP_PIECE_BYTES):
            if inflater.eof:
                raise invalid(_NOT_DECODABLE)
            piece = bytes(body[start : start + _GZIP_PIECE_BYTES])
            while piece:
                yield inflater.decompress(piece, _GUNZIPPED_PIECE_BYTES)
                piece = inflater.unconsumed_tail
    except zlib.error:
        raise invalid(_NOT_DECODABLE) from None
    if not inflater.eof or inflater.unused_data:
        raise invalid(_NOT_DECODABLE)


def _unzstd(body: Body) -> Iterator[bytes]:
    # Not the library's stream reader: it takes a frame that was cut short for a whole one.
    inflater = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
    try:
        for start in range(0, len(body), _ZSTD_PIECE_BYTES):
            yield inflater.decompress(body[start : start + _ZSTD_PIECE_BYTES])
    except zstandard.ZstdError:
        raise invalid(_NOT_DECODABLE) from None
    if not inflater.eof or inflater.unused_data:
        raise invalid(_NOT_DECODABLE)


def _too_large(max_bytes: int) -> Problem:
    return too_large(f"The request is larger than {max_bytes} bytes")


def _decoder_of(request: web.Request) -> _Decoder | None:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in DECODERS:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be zstd, gzip or identity",
            OwnCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "zstd, gzip, identity"},
        )
    return DECODERS[encoding]


DECODERS: dict[str, _Decoder | None] = {
    "": None,
    "identity": None,
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "zstd": _unzstd,
}
