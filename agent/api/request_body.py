"""Reading a request body: complete, of a bounded size, decoded."""

import asyncio
import zlib
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.api.errors import ErrorCode, Problem, problem_of_status
from agent.capture.refusals import NOT_AN_OBJECT, Refusal

MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_SECONDS = 30.0
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(request: web.Request) -> bytes:
    """Return the body as the till meant it, at most `MAX_BODY_BYTES` also when decoded.

    Raises a `Problem` for a larger one, an unknown `Content-Encoding`, or one that does not
    come in time; the `Content-Type` is never looked at.
    """
    try:
        # A till's body nearly always came with its headers: only one that did not is timed.
        if request.content.is_eof():
            body = await request.read()
        else:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                body = await request.read()
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "The request body did not arrive in time",
            ErrorCode.INVALID_REQUEST,
            {"Connection": "close"},
        ) from None
    except web.RequestPayloadError:
        raise problem_of_status(HTTPStatus.BAD_REQUEST) from None
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    return body if encoding is None else _decode(body, encoding.strip().lower())


def _decode(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding not in _WINDOW_BITS:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be gzip, deflate or identity",
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "gzip, deflate, identity"},
        )
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        decoded = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Refusal(NOT_AN_OBJECT) from None
    if len(decoded) > MAX_BODY_BYTES:
        raise problem_of_status(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if not inflater.eof or inflater.unused_data:
        raise Refusal(NOT_AN_OBJECT)
    return decoded
