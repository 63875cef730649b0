"""The application: routes, and the boundary that checks access and converts errors."""

import logging
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.api import dead_letters, delivery, sessions
from agent.api.context import CONTEXT, Context
from agent.api.fast_path import FastPath, FastRoute, WholeAnswer
from agent.api.openapi import viewer
from agent.api.openapi.document import show_openapi
from agent.api.page import endpoints as page
from agent.api.page.activity import ActivityReader
from agent.api.reasons import REASON, header_value, reason_of
from agent.api.request_body import MAX_BODY_BYTES
from agent.api.responses import COMMON_HEADERS, REQUEST_ID, to_http_error
from agent.api.status import endpoints
from agent.api.till_calls import TillCalls
from agent.store.files.storage_errors import StorageError
from sync.runtime.masking import mask_secrets
from sync.runtime.network.http_errors import HttpError, error_response, log_error
from sync.runtime.network.http_server import route_of
from sync.runtime.refusal_log import RefusalLog, fingerprint
from sync.runtime.summed_log import LineBudget, SummedLog

_log = logging.getLogger(__name__)

FAST_PATH = web.AppKey("fast_path", FastPath)
# Refused requests that are logged with their id; further ones of the minute only as a sum.
_REFUSALS_A_MINUTE = 60
# Unlike aiohttp's default pattern this one allows an empty segment and braces, so that an
# invalid id is answered by the capture rules and not by the router's 404.
_ID = "{correlation_id:[^/]*}"
_DEAD_LETTERS = "/agent/v1/dead-letters"
_DEAD_LETTER = f"{_DEAD_LETTERS}/{{epoch}}/{{sequence}}"

# Of a host or an origin in the log.
_MAX_NAMED = 200


def build_app(context: Context) -> web.Application:
    """Return the application with all routes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[CONTEXT] = context
    calls = TillCalls(context)
    fast_routes = (
        FastRoute(hdrs.METH_POST, "/client/users/anonymous/sessions", calls.start_session),
        FastRoute(hdrs.METH_PUT, f"/client/users/{_ID}/profile/email", calls.set_email),
    )
    app[FAST_PATH] = FastPath(fast_routes, context.new_request_id)
    for route in fast_routes:
        app.router.add_route(route.method, route.pattern, route.regular_handler())
    app.router.add_get(f"/agent/v1/sessions/{_ID}", sessions.show_session)
    app.router.add_get("/agent/v1/status", endpoints.show_status)
    app.router.add_post("/agent/v1/sync", delivery.try_now)
    app.router.add_get(_DEAD_LETTERS, dead_letters.list_dead_letters)
    app.router.add_get(_DEAD_LETTER, dead_letters.show_dead_letter)
    app.router.add_post(f"{_DEAD_LETTER}/retry", dead_letters.retry_dead_letter)
    app.router.add_post(f"{_DEAD_LETTER}/discard", dead_letters.discard_dead_letter)
    app.router.add_post(f"{_DEAD_LETTER}/set-aside", dead_letters.set_aside_stuck_event)
    app[page.ACTIVITY] = ActivityReader(context)
    app.router.add_get("/", page.show_page)
    app.router.add_get(page.ASSETS, page.FILES.show)
    app.router.add_get("/openapi.json", show_openapi)
    app.router.add_get("/docs", viewer.show_docs)
    app.router.add_get(viewer.ASSETS, viewer.FILES.show)
    app.router.add_get("/healthz", endpoints.is_alive)
    app.router.add_get("/readyz", endpoints.is_ready)
    app.router.add_get("/metrics", endpoints.show_metrics)
    return app


_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class TillBoundary:
    """Checks access, converts errors, adds headers. Each answer has a request id."""

    def __init__(self, app: web.Application) -> None:
        self._context = app[CONTEXT]
        self._refused = RefusalLog(_log, "access.refused")
        self._fast_path = app[FAST_PATH]
        self._refusals = LineBudget(_REFUSALS_A_MINUTE)
        self._more: dict[str, SummedLog] = {}
        self._paths = tuple(resource.canonical for resource in app.router.resources())
        self._not_recorded = SummedLog(_log, "request.not_recorded", logging.ERROR)

    def close(self) -> None:
        """Log the sums that are left. Idempotent."""
        self._refused.close()
        self._refusals.close()
        for more in self._more.values():
            more.close()
        self._not_recorded.close()

    def before_routing(self, request: web.BaseRequest) -> web.Response | None:
        """Check access; answer a CORS preflight. Raises `HttpError` (401, 403)."""
        self._context.access.check(request)
        if self._context.access.is_preflight(request):
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return None

    def error_response(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """Return the answer for an error; log and count it."""
        fast = self._fast_path.find(request)
        route = fast.path if fast is not None else route_of(request)
        converted = to_http_error(error)
        request_id = self._context.new_request_id()
        reason = header_value(reason_of(converted, request, self._paths))
        if converted.status in _REFUSED:
            self._note_refused(request, converted, reason)
        if isinstance(error, StorageError):
            # One line a minute: every till asks again each second.
            kind = converted.code.value
            fields: dict[str, object] = {"code": kind, "reason": str(error), "route": route}
            self._not_recorded.count(fields=fields, times=1)
        elif self._may_log(converted, reason):
            named = f"{request.method} {route}"
            log_error(converted, error, named, reason=reason, request_id=request_id)
        self._context.metrics.count_error(converted.code.value)
        response = error_response(converted)
        response.headers[REASON] = reason
        response.headers[REQUEST_ID] = request_id
        return response

    def _note_refused(self, request: web.BaseRequest, refusal: HttpError, reason: str) -> None:
        """Log a page, a host or a token that is refused: a line a minute and peer."""
        headers = request.headers
        self._refused.note(
            request.remote or "unknown",
            reason,
            code=refusal.code.value,
            # Free text of the client: masked before it is cut, or half an address could remain.
            host=mask_secrets(headers.get(hdrs.HOST, "-"))[:_MAX_NAMED],
            origin=mask_secrets(headers.get(hdrs.ORIGIN, "-"))[:_MAX_NAMED],
            fingerprint=fingerprint(headers.get(hdrs.AUTHORIZATION, "").partition(" ")[2]),
        )

    def _may_log(self, error: HttpError, reason: str) -> bool:
        """Return whether the error gets a line of its own; count it if not.

        Refused requests are bounded: any page in the machine's browser can send them. Each sum
        bears the last reason of its code.
        """
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self._refusals.take():
            return True
        code = error.code.value
        more = self._more.get(code)
        if more is None:
            more = self._more[code] = SummedLog(_log, "request.refused_more", logging.INFO)
        more.count(times=1, fields={"code": code, "reason": reason})
        return False

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
