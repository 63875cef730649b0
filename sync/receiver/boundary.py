"""Error boundary of head office: error responses, headers, one count per request."""

from collections.abc import Callable

from aiohttp import web

from sync.receiver.errors import to_http_error
from sync.receiver.reports.metrics import ReceiverMetrics
from sync.receiver.request_log import RequestLog
from sync.runtime.network.http_errors import error_response
from sync.runtime.network.http_server import route_of

# Streamed responses are prepared before the boundary and set these themselves (`read_api.py`).
COMMON_HEADERS = {
    "Server": "loyalty-hq",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
}


class ReceiverBoundary:
    """Converts errors and adds headers. Access is checked by the handlers.

    `outage_retry_after` supplies the Retry-After while the database is down.
    """

    def __init__(
        self, metrics: ReceiverMetrics, outage_retry_after: Callable[[], int], log: RequestLog
    ) -> None:
        self._metrics = metrics
        self._outage_retry_after = outage_retry_after
        self._log = log

    def before_routing(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the agent's boundary looks at it
    ) -> web.Response | None:
        """Return None: every request is routed."""
        return None

    def error_response(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """Return the response for an error; log and count it."""
        converted = to_http_error(error, self._outage_retry_after)
        self._log.note(request, converted, error)
        self._metrics.errors.labels(converted.code.value).inc()
        return error_response(converted)

    def close(self) -> None:
        """Log the sums that are left. Idempotent."""
        self._log.close()

    def complete(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Count the response and add the headers."""
        self._metrics.requests.labels(route_of(request), str(response.status)).inc()
        response.headers.update(COMMON_HEADERS)
