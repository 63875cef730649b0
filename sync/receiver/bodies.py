"""Reading a request body: complete, of a bounded size before and after it is decoded."""

import asyncio
import zlib
from http import HTTPStatus

import zstandard
from aiohttp import hdrs, web

from sync.receiver.problems import OwnCode, Problem, invalid, too_large
from sync.wire import ErrorCode

MAX_BODY_BYTES = 64 * 1024 * 1024
# Between two pieces: a slow line is fine, a silent one is not.
SILENCE_SECONDS = 30.0
# What takes longer than a few milliseconds to decode is not done in the event loop.
_LARGE_BYTES = 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 8878: what every decoder should support
# So much of a zstd frame becomes 32 MiB at the very most: four bytes can stand for 128 KiB.
_PIECE_BYTES = 1024
_GZIP_WINDOW_BITS = 31
_TOO_LARGE = f"The request is larger than {MAX_BODY_BYTES} bytes"
_NOT_DECODABLE = "The request body is not what its Content-Encoding says"


async def read_body(request: web.Request) -> bytes:
    """Return the body as it was before it was encoded.

    Raises a `Problem` where it is too large, of an unknown `Content-Encoding`, or broken.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in _DECODERS:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be zstd, gzip or identity",
            OwnCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "zstd, gzip, identity"},
        )
    encoded = await _read(request)
    decode = _DECODERS[encoding]
    if len(encoded) > _LARGE_BYTES:
        return await asyncio.to_thread(decode, encoded)
    return decode(encoded)


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large(_TOO_LARGE)
    body = bytearray()
    try:
        while piece := await asyncio.wait_for(request.content.readany(), SILENCE_SECONDS):
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise too_large(_TOO_LARGE)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "The request body did not arrive in time",
            ErrorCode.INVALID_REQUEST,
            {"Connection": "close"},
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise invalid("The request body is broken or incomplete") from None
    return bytes(body)


def _identity(body: bytes) -> bytes:
    return body


def _gunzip(body: bytes) -> bytes:
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        decoded = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise invalid(_NOT_DECODABLE) from None
    if len(decoded) > MAX_BODY_BYTES:
        raise too_large(_TOO_LARGE)
    if not inflater.eof or inflater.unused_data:
        raise invalid(_NOT_DECODABLE)
    return decoded


def _unzstd(body: bytes) -> bytes:
    # Not the library's stream reader: it takes a frame that was cut short for a whole one.
    inflater = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
    pieces, size = [], 0
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            pieces.append(inflater.decompress(body[start : start + _PIECE_BYTES]))
            size += len(pieces[-1])
            if size > MAX_BODY_BYTES:
                raise too_large(_TOO_LARGE)
    except zstandard.ZstdError:
        raise invalid(_NOT_DECODABLE) from None
    if not inflater.eof or inflater.unused_data:
        raise invalid(_NOT_DECODABLE)
    return b"".join(pieces)


_DECODERS = {
    "": _identity,
    "identity": _identity,
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}
