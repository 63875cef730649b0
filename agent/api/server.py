"""Error boundary of the till API: access check before routing, error answers, headers."""

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.api.context import CONTEXT
from agent.api.errors import to_http_error
from agent.api.headers import FOR_ALL, REQUEST_ID
from agent.api.responses import WholeAnswer
from agent.api.routes import ROUTES
from sync.runtime.http_errors import error_response, log_error
from sync.runtime.http_server import Handler, route_of


class TillBoundary:
    """Checks access, converts errors, adds headers. Each answer has a request id."""

    def __init__(self, app: web.Application) -> None:
        self._context = app[CONTEXT]
        self._routes = app[ROUTES]

    def before_routing(self, request: web.BaseRequest) -> web.Response | None:
        """Check access; answer a CORS preflight. Raises `HttpError` (401, 403)."""
        self._context.access.check(request)
        if self._context.access.is_preflight(request):
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return None

    def error_response(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """Return the answer for an error; log and count it."""
        straight = self._routes.find(request)
        pattern = straight.pattern if straight is not None else route_of(request)
        converted = to_http_error(error)
        request_id = self._context.new_request_id()
        log_error(converted, error, f"{request.method} {pattern}", request_id=request_id)
        self._context.metrics.refused(converted.code.value)
        response = error_response(converted)
        response.headers[REQUEST_ID] = request_id
        return response

    def complete(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add the headers of every answer, and those of CORS."""
        if isinstance(response, WholeAnswer):
            return
        headers = response.headers
        headers.update(FOR_ALL)
        if REQUEST_ID not in headers:
            headers[REQUEST_ID] = self._context.new_request_id()
        if hdrs.ORIGIN in request.headers:
            headers.update(self._context.access.headers_for(request))


def straight_routing(app: web.Application) -> Callable[[Handler], Handler]:
    """Return a wrapper of the router that leads plain till calls straight to their handlers."""
    context, routes = app[CONTEXT], app[ROUTES]

    def wrap(route: Handler) -> Handler:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            straight = routes.find(request)
            if straight is None or not isinstance(request, web.Request):
                return await route(request)
            success = await straight.handler(request)
            return success.whole(request, context.new_request_id()) or success.response()

        return answer

    return wrap
