"""The outermost layer: whatever happens to a request, the answer is one of ours.

aiohttp answers in plain text where a request is not valid HTTP, names an expectation it cannot
meet, or runs into a fault. Here every answer passes one place.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sync.receiver.errors import answer_of, log_problem, problem_of

# What is streamed is begun before it gets here, and brings them itself (`streaming.py`).
FOR_ALL = {
    "Server": "loyalty-hq",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# What a connection takes of a body ahead of being read is about twice this. It is not within the
# budget: a request has to prove who sends it before.
_UNREAD_BYTES = 32 * 1024
_NO_ROUTE = "(none)"
_Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Counting(Protocol):
    """Where every answer is counted: `Metrics`."""

    def answered(self, route: str, status: int) -> None:
        """Count a request by the address it was matched to."""

    def refused(self, code: str) -> None:
        """Count a request answered with an error, by its code."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How requests end. `seconds_while_away` tells when to come again without a database."""

    counting: Counting
    seconds_while_away: Callable[[], int]

    def answer(self, error: Exception, request: str) -> web.Response:
        """Return what a caller is answered whose `request` met `error`."""
        problem = problem_of(error, self.seconds_while_away)
        log_problem(problem, error, request)
        self.counting.refused(problem.code.value)
        return answer_of(problem)


class Connection(RequestHandler):
    """A connection whose errors below HTTP are answered in the same three-field shape."""

    __slots__ = ("_outcomes",)

    def __init__(self, outcomes: Outcomes, server: web.Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type] # what AppRunner prepared
        self._outcomes = outcomes

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the signature is the library's
    ) -> web.StreamResponse:
        """Answer what is not valid HTTP; then close, as what follows cannot be understood."""
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
    """An aiohttp server of `Connection`s."""

    def __init__(self, plain: web.Server, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        super().__init__(
            always_ours(plain.request_handler, outcomes),
            request_factory=plain.request_factory,
            **plain._kwargs,  # noqa: SLF001 - what AppRunner prepared for its connections
        )

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self._outcomes, self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the receiver's API. No access log; bodies are decoded in `bodies.py`, with a bound."""

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


def always_ours(route: _Answering, outcomes: Outcomes) -> _Answering:
    """Wrap the application: errors as answers, headers after."""

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
    """Return the address that was matched; the path itself can hold what no log may."""
    # The public `match_info` fails for a request that was refused before it was routed.
    match = getattr(request, "_match_info", None)
    resource = match.route.resource if match is not None else None
    return resource.canonical if resource else _NO_ROUTE
