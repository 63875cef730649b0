"""Read a request body completely, with a time and a size limit, and decompress it."""

import asyncio
import re
import zlib
from codecs import BOM_UTF8
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.capture.refusals import NOT_AN_OBJECT, Refusal
from sync.protocol.wire import ErrorCode
from sync.runtime.network.http_errors import HttpError, too_large
from sync.runtime.network.invalid_http import invalid_http

MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_SECONDS = 30.0
_TOO_LARGE = "The request body is larger than 16 KiB."
_ENCODING_NAME = re.compile("[a-z0-9_-]{1,20}", re.ASCII)
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(request: web.Request) -> bytes:
    """Return the decompressed body, at most `MAX_BODY_BYTES` before and after decompression.

    Raises `HttpError` if the body is larger, arrives too late or has an unknown
    `Content-Encoding`, and `Refusal` if it cannot be decompressed. Ignores `Content-Type`, and a
    byte order mark: some writers of UTF-8 put one before the text (RFC 8259, 8.1).
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
            reason=f"the body did not arrive completely within {BODY_TIMEOUT_SECONDS:.0f} s",
        ) from None
    except web.RequestPayloadError as error:
        raise invalid_http(error.__cause__) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(request.content_length) from None
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None:
        body = _decode(body, encoding.strip().lower())
    return body.removeprefix(BOM_UTF8)


def _decode(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding not in _WINDOW_BITS:
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be gzip, deflate or identity.",
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "gzip, deflate, identity"},
            reason=f"Content-Encoding {_named(encoding)} is not supported: "
            "use gzip, deflate or identity",
        )
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        decoded = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Refusal(NOT_AN_OBJECT, f"the body is not valid {encoding}") from None
    if len(decoded) > MAX_BODY_BYTES:
        reason = f"the body has more than {MAX_BODY_BYTES} bytes when decompressed"
        raise too_large(_TOO_LARGE, reason)
    if not inflater.eof:
        raise Refusal(NOT_AN_OBJECT, f"the body is an incomplete {encoding}")
    if inflater.unused_data:
        raise Refusal(NOT_AN_OBJECT, f"the body has data after the end of its {encoding}")
    return decoded


def _too_large(length: int | None) -> HttpError:
    if length is None or length <= MAX_BODY_BYTES:
        return too_large(_TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
    return too_large(
        _TOO_LARGE,
        f"the body has {length} bytes by its Content-Length, at most {MAX_BODY_BYTES} are allowed",
    )


def _named(encoding: str) -> str:
    return encoding if _ENCODING_NAME.fullmatch(encoding) else "of this name"
