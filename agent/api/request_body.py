"""Read a request body completely, with a time and a size limit, and decompress it."""

import asyncio
import zlib
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.capture.refusals import NOT_AN_OBJECT, Refusal
from sync.protocol.wire import ErrorCode
from sync.runtime.http_errors import HttpError

MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_SECONDS = 30.0
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(request: web.Request) -> bytes:
    """Return the decompressed body, at most `MAX_BODY_BYTES` before and after decompression.

    Raises `HttpError` if the body is larger, arrives too late or has an unknown
    `Content-Encoding`, and `Refusal` if it cannot be decompressed. Ignores `Content-Type`.
    """
    try:
        # The body usually arrives together with the headers; start a timer only if it did not.
        if request.content.is_eof():
            body = await request.read()
        else:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                body = await request.read()
    except TimeoutError:
        raise HttpError(
            HTTPStatus.REQUEST_TIMEOUT,
            "The request body did not arrive in time.",
            ErrorCode.INVALID_REQUEST,
            {"Connection": "close"},
        ) from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    return body if encoding is None else _decode(body, encoding.strip().lower())


def _decode(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding not in _WINDOW_BITS:
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be gzip, deflate or identity.",
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "gzip, deflate, identity"},
        )
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        decoded = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Refusal(NOT_AN_OBJECT) from None
    if len(decoded) > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, len(decoded))
    if not inflater.eof or inflater.unused_data:
        raise Refusal(NOT_AN_OBJECT)
    return decoded
