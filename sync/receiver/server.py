"""HTTP error boundary: every error becomes the API's JSON error body.

aiohttp answers in plain text if a request is not valid HTTP, names an unsupported expectation or
fails in a handler. Here all responses pass through one wrapper.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sync.receiver.errors import to_http_error
from sync.runtime.http_errors import error_response, log_error

# Streamed responses are prepared before they get here and set these themselves (`streaming.py`).
FOR_ALL = {
    "Server": "loyalty-hq",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# A connection buffers about twice this of an unread body. It is not part of the memory budget,
# because the sender must authenticate first.
_UNREAD_BYTES = 32 * 1024
_NO_ROUTE = "(none)"
_Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Counting(Protocol):
    """Counts responses: `Metrics`."""

    def answered(self, route: str, status: int) -> None:
        """Count a response by route pattern and status."""

    def refused(self, code: str) -> None:
        """Count an error response by its code."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Turns exceptions into responses. `outage_retry_after`: Retry-After without a database."""

    counting: Counting
    outage_retry_after: Callable[[], int]

    def answer(self, error: Exception, request: str) -> web.Response:
        """Return the error response for `request`; log and count it."""
        problem = to_http_error(error, self.outage_retry_after)
        log_error(problem, error, request)
        self.counting.refused(problem.code.value)
        return error_response(problem)


class Connection(RequestHandler):
    """A connection that answers HTTP parse errors with the JSON error body."""

    __slots__ = ("_outcomes",)

    def __init__(self, outcomes: Outcomes, server: web.Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type] # the options that AppRunner prepared
        self._outcomes = outcomes

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the signature is the library's
    ) -> web.StreamResponse:
        """Answer invalid HTTP, then close the connection: the rest cannot be parsed."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was already begun")
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        error = exc if is_ours and isinstance(exc, Exception) else web.HTTPBadRequest()
        answer = self._outcomes.answer(error, _NO_ROUTE)
        self._outcomes.counting.answered(_NO_ROUTE, answer.status)
        answer.headers.update(FOR_ALL)
        answer.force_close()
        return answer


class Server(web.Server):
    """An aiohttp server that creates `Connection`s."""

    def __init__(self, plain: web.Server, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        super().__init__(
            error_boundary(plain.request_handler, outcomes),
            request_factory=plain.request_factory,
            **plain._kwargs,  # noqa: SLF001 - the options that AppRunner prepared for connections
        )

    def __call__(self) -> RequestHandler:
        """Create the protocol object of a new connection."""
        return Connection(self._outcomes, self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the API without access log. Bodies are decompressed in `bodies.py`, with a limit."""

    def __init__(
        self, app: web.Application, outcomes: Outcomes, *, shutdown_timeout: float
    ) -> None:
        self._outcomes = outcomes
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=shutdown_timeout,
            read_bufsize=_UNREAD_BYTES,
        )

    async def _make_server(self) -> web.Server:
        return Server(await super()._make_server(), self._outcomes)


def error_boundary(route: _Answering, outcomes: Outcomes) -> _Answering:
    """Wrap the application: map exceptions to responses, then set the common headers."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await route(request)
        except Exception as error:  # noqa: BLE001 - the boundary: every error becomes an answer
            named = f"{request.method} {_pattern_of(request)}"
            response = outcomes.answer(error, named)
        outcomes.counting.answered(_pattern_of(request), response.status)
        response.headers.update(FOR_ALL)
        return response

    return answer


def _pattern_of(request: web.BaseRequest) -> str:
    """Return the route pattern; the path itself may contain data that must not be logged."""
    # The public `match_info` fails for a request that was refused before routing.
    match = getattr(request, "_match_info", None)
    resource = match.route.resource if match is not None else None
    return resource.canonical if resource else _NO_ROUTE
