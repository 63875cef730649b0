"""Error boundary around the application: every answer has our error body and headers.

aiohttp answers in plain text if a request is not valid HTTP, has an unsupported `Expect`
header or raises an exception. A middleware is not enough: such answers bypass it. Here every
answer passes one place, which also checks access and adds the common headers and a request id.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from agent.api.context import CONTEXT, Context
from agent.api.errors import to_http_error
from agent.api.headers import FOR_ALL, REQUEST_ID
from agent.api.routes import ROUTES, StraightRoutes
from sync.runtime.http_errors import error_response, log_error

_Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class TillConnection(RequestHandler):
    """A connection that answers protocol errors with the three-field error body."""

    __slots__ = ("_context",)

    def __init__(self, context: Context, server: web.Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type] # prepared by AppRunner
        self._context = context

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - overrides aiohttp's signature
    ) -> web.StreamResponse:
        """Answer invalid HTTP, then close: the rest of the stream cannot be parsed."""
        if self.writer_has_started(request):
            raise ConnectionError("the answer was already begun")
        is_fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        error = exc if is_fault and isinstance(exc, Exception) else web.HTTPBadRequest()
        request_id = self._context.new_request_id()
        answer = _refused(self._context, error, "(none)", request_id)
        answer.headers.update(FOR_ALL)
        answer.headers[REQUEST_ID] = request_id
        answer.force_close()
        return answer

    @staticmethod
    def writer_has_started(request: web.BaseRequest) -> bool:
        """Return whether part of an answer has been written."""
        return request.writer.output_size > 0


class TillServer(web.Server):
    """An aiohttp server of `TillConnection`s."""

    def __init__(self, app: web.Application, plain: web.Server) -> None:
        self._context = app[CONTEXT]
        super().__init__(
            error_boundary(self._context, app[ROUTES], plain.request_handler),
            request_factory=plain.request_factory,
            **plain._kwargs,  # noqa: SLF001 - prepared by AppRunner for its connections
        )

    def __call__(self) -> RequestHandler:
        """Return the protocol for a new connection."""
        return TillConnection(self._context, self, loop=self._loop, **self._kwargs)


class TillRunner(web.AppRunner):
    """Runs the API with keep-alive connections and without an access log."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        # An access log would double the cost of a request. Bodies are decompressed in
        # `bodies.py`, with a size limit.
        super().__init__(
            app, access_log=None, auto_decompress=False, shutdown_timeout=shutdown_timeout
        )

    async def _make_server(self) -> web.Server:
        return TillServer(self.app, await super()._make_server())


def error_boundary(context: Context, routes: StraightRoutes, route: _Answering) -> _Answering:
    """Wrap the application: check access, turn exceptions into answers, add headers."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        request_id = context.new_request_id()
        straight = routes.find(request)
        try:
            context.access.check(request)
            if straight is not None and isinstance(request, web.Request):
                success = await straight.handler(request)
                whole = success.whole(request, request_id)
                if whole is not None:
                    return whole
                response: web.StreamResponse = success.response()
            elif context.access.is_preflight(request):
                response = web.Response(status=HTTPStatus.NO_CONTENT)
            else:
                response = await route(request)
        except Exception as error:  # noqa: BLE001 - error boundary
            pattern = straight.pattern if straight is not None else _pattern_of(request)
            named = f"{request.method} {pattern}"
            response = _refused(context, error, named, request_id)
        headers = response.headers
        headers.update(FOR_ALL)
        headers[REQUEST_ID] = request_id
        if "Origin" in request.headers:
            headers.update(context.access.headers_for(request))
        return response

    return answer


def _refused(context: Context, error: Exception, route: str, request_id: str) -> web.Response:
    converted = to_http_error(error)
    log_error(converted, error, route, request_id=request_id)
    context.metrics.refused(converted.code.value)
    return error_response(converted)


def _pattern_of(request: web.BaseRequest) -> str:
    """Return the matched route pattern; the path itself can contain personal data."""
    # The public `match_info` fails for a request that was rejected before routing.
    match = getattr(request, "_match_info", None)
    resource = match.route.resource if match is not None else None
    return resource.canonical if resource else "(none)"
