"""Requests that aiohttp's parser rejects: their fault in words, without quoting them."""

import re

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, InvalidURLError, LineTooLong

from sync.runtime.network.request_head import LargeHead

_TLS = "HTTPS traffic"
_HTTP_2 = "Pause on PRI"
_METHOD = "Invalid method"
_REST_OF_A_BODY = (
    "; so looks the rest of a body that is longer than its Content-Length (in bytes), or has none"
)
# The parser's own words; after them it quotes the request on lines of its own.
_WORDS = re.compile(r"([A-Za-z][A-Za-z0-9 '`/_-]{2,79}):\n|([A-Z][a-z]+ [a-zA-Z ']{2,60}\.?)$")


class InvalidHttp(web.HTTPBadRequest):
    """The request is not valid HTTP; `words` say why."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


def invalid_http(error: BaseException | None) -> InvalidHttp:
    """Return the error of a request that the parser rejected with `error`."""
    return InvalidHttp(_fault(error) if isinstance(error, BadHttpMessage) else "not valid HTTP")


def _fault(error: BadHttpMessage) -> str:
    message = error.message
    if isinstance(error, LargeHead):
        return message
    if isinstance(error, LineTooLong):
        return f"a line of the request head is longer than {error.args[1]} bytes"
    if _TLS in message:
        return "this is TLS, and this port speaks plain HTTP: use http://"
    if message.startswith(_HTTP_2):
        return "this is HTTP/2: use HTTP/1.1"
    if (found := _WORDS.match(message)) and "Bad " not in message[:4]:
        words = f"not valid HTTP: {found[1] or found[2]}"
        return words + _REST_OF_A_BODY if _METHOD in words else words
    return f"not valid HTTP: {'the URL' if isinstance(error, InvalidURLError) else 'its head'}"
