"""Fast path of the two till calls: no router, no header dictionary.

The regular way, aiohttp's router and a `web.Response`, costs a quarter more processor time per
capture (measured at 64 connections, `python -m tests.bench capture`). The fast path serves only
plain requests: exact path, HTTP/1.1, keep-alive, no `Expect`, no `Origin`. All others, and all
errors, take the regular way, which serves the same two calls.
"""

import re
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache, wraps
from typing import NamedTuple

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from agent.api.responses import COMMON_HEADERS, RECEIPT, REQUEST_ID, CaptureAnswer
from sync.runtime.network.http_server import JSON_TYPE, Handler

_HEAD = "HTTP/1.1 200 OK\r\n" + "".join(
    f"{name}: {value}\r\n" for name, value in (JSON_TYPE | COMMON_HEADERS).items()
)


class FastRoute(NamedTuple):
    """Route of one of the two calls. `path` is safe to log; the path of a request is not."""

    method: str
    pattern: str
    handle: Callable[[web.Request], Awaitable[CaptureAnswer]]

    @property
    def path(self) -> str:
        """The path as it is documented: its parts have names only."""
        return re.sub(r":[^}]*", "", self.pattern)

    def regular_handler(self) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return the handler for aiohttp's router: it answers by a regular response."""

        @wraps(self.handle)
        async def handle(request: web.Request) -> web.Response:
            return (await self.handle(request)).response()

        return handle


class FastPath:
    """Routes plain requests to their handler and writes the answer in one piece."""

    def __init__(self, routes: tuple[FastRoute, ...], new_request_id: Callable[[], str]) -> None:
        self._by_method = {route.method: (_path_of(route.pattern), route) for route in routes}
        self._new_request_id = new_request_id

    def find(self, request: web.BaseRequest) -> FastRoute | None:
        """Return the route of a request; None to leave it to the router."""
        path, route = self._by_method.get(request.method, (None, None))
        if path is None or path.fullmatch(request.rel_url.raw_path) is None:
            return None
        return None if hdrs.EXPECT in request.headers else route

    def before(self, router: Handler) -> Handler:
        """Return a handler that tries the fast path first, then the router."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            route = self.find(request)
            if route is None or not isinstance(request, web.Request):
                return await router(request)
            acknowledgement = await route.handle(request)
            if _is_plain(request):
                return WholeAnswer(acknowledgement, self._new_request_id())
            return acknowledgement.response()

        return handle


def _path_of(pattern: str) -> re.Pattern[str]:
    """Return the expression that aiohttp makes of `{name:expression}` in a pattern."""
    return re.compile(re.sub(r"\{\w+:(.+?)\}", r"\1", pattern))


def _is_plain(request: web.BaseRequest) -> bool:
    return (
        request.version == HttpVersion11
        and request.keep_alive
        and hdrs.ORIGIN not in request.headers
    )


class WholeAnswer(web.StreamResponse):
    """Head and body of an acknowledgement, serialized; for a keep-alive connection."""

    def __init__(self, acknowledgement: CaptureAnswer, request_id: str) -> None:
        # Initialize the attributes that aiohttp reads from every response.
        super().__init__()
        self._keeps_alive = True
        self._head = (
            f"{_HEAD}{REQUEST_ID}: {request_id}\r\n{RECEIPT}: {acknowledgement.receipt}\r\n"
            f"Content-Length: {len(acknowledgement.body)}\r\n"
            f"Date: {_http_date(int(time.time()))}\r\n"
        )
        self._content = acknowledgement.body

    @property
    def keep_alive(self) -> bool:
        """True unless `force_close` was called: only keep-alive requests are answered so."""
        return self._keeps_alive

    def force_close(self) -> None:
        """Close the connection after this answer."""
        self._keeps_alive = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write the answer, in one packet if it fits."""
        end = "\r\n" if self._keeps_alive else "Connection: close\r\n\r\n"
        await request.writer.write(f"{self._head}{end}".encode("ascii") + self._content)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` wrote the whole answer."""


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    """Return the `Date` of a response (RFC 9110, 5.6.7), formatted once per second."""
    return formatdate(second, usegmt=True)
