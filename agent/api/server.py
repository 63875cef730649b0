"""Error boundary of the till API: access check before routing, error answers, headers."""

from http import HTTPStatus

from aiohttp import hdrs, web

from agent.api.context import CONTEXT
from agent.api.errors import to_http_error
from agent.api.fast_path import WholeAnswer
from agent.api.responses import COMMON_HEADERS, REQUEST_ID
from agent.api.routes import FAST_PATH
from sync.runtime.http_errors import error_response, log_error
from sync.runtime.http_server import route_of


class TillBoundary:
    """Checks access, converts errors, adds headers. Each answer has a request id."""

    def __init__(self, app: web.Application) -> None:
        self._context = app[CONTEXT]
        self._fast_path = app[FAST_PATH]

    def before_routing(self, request: web.BaseRequest) -> web.Response | None:
        """Check access; answer a CORS preflight. Raises `HttpError` (401, 403)."""
        self._context.access.check(request)
        if self._context.access.is_preflight(request):
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return None

    def error_response(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """Return the answer for an error; log and count it."""
        call = self._fast_path.find(request)
        route = call.pattern if call is not None else route_of(request)
        converted = to_http_error(error)
        request_id = self._context.new_request_id()
        log_error(converted, error, f"{request.method} {route}", request_id=request_id)
        self._context.metrics.refused(converted.code.value)
        response = error_response(converted)
        response.headers[REQUEST_ID] = request_id
        return response

    def complete(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add the headers of every answer, and those of CORS."""
        if isinstance(response, WholeAnswer):
            return
        headers = response.headers
        headers.update(COMMON_HEADERS)
        if REQUEST_ID not in headers:
            headers[REQUEST_ID] = self._context.new_request_id()
        if hdrs.ORIGIN in request.headers:
            headers.update(self._context.access.headers_for(request))
