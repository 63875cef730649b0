"""Access control: checks Host, Origin and, if configured, the bearer token.

A web page open in a browser on the POS machine can send requests to localhost. The `Origin`
check rejects pages of other origins; the `Host` check rejects DNS rebinding, a foreign name
that resolves to 127.0.0.1.
"""

import hmac
from functools import lru_cache
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.api.responses import RECEIPT, REQUEST_ID
from sync.protocol.wire import ErrorCode
from sync.runtime.http_errors import HttpError
from sync.runtime.settings.types import is_loopback

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}


class Access:
    """Enforces `[api] allowed_hosts`, `cors_origins` and `token_file`."""

    def __init__(
        self, allowed_hosts: frozenset[str], cors_origins: frozenset[str], token: str | None
    ) -> None:
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._cors_origins = cors_origins
        self._token = None if token is None else token.encode()
        self._is_allowed_host = lru_cache(maxsize=64)(self._check_host)

    def check(self, request: web.BaseRequest) -> None:
        """Raise an `HttpError` if the request is not allowed."""
        headers = request.headers
        host = headers.get(hdrs.HOST, "")
        if not self._is_allowed_host(host):
            message = "This Host is not allowed. Use localhost, or add it to [api] allowed_hosts."
            raise HttpError(HTTPStatus.FORBIDDEN, message, ErrorCode.FORBIDDEN)
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None and not self._is_allowed_origin(origin, request.scheme, host):
            message = "This Origin is not allowed. Add it to [api] cors_origins."
            raise HttpError(HTTPStatus.FORBIDDEN, message, ErrorCode.FORBIDDEN)
        if self._token is not None:
            self._check_token(request)

    def headers_for(self, request: web.BaseRequest) -> dict[str, str]:
        """Return the CORS headers that let an allowed page read the answer."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin not in self._cors_origins:
            return {}
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": f"{RECEIPT}, {REQUEST_ID}, Retry-After",
            "Vary": "Origin",
        }
        return headers | (_PREFLIGHT_HEADERS if self.is_preflight(request) else {})

    def is_preflight(self, request: web.BaseRequest) -> bool:
        """Return whether this is the CORS preflight request of an allowed origin."""
        return (
            request.method == hdrs.METH_OPTIONS
            and request.headers.get(hdrs.ORIGIN) in self._cors_origins
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        )

    def _is_allowed_origin(self, origin: str, scheme: str, host: str) -> bool:
        return origin in self._cors_origins or origin.lower() == f"{scheme}://{host}".lower()

    def _check_host(self, host_header: str) -> bool:
        host = _without_port(host_header)
        return host in self._allowed_hosts or is_loopback(host)

    def _check_token(self, request: web.BaseRequest) -> None:
        if request.path in OPEN_PATHS or self.is_preflight(request):
            return
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        shown = given.encode("utf-8", "surrogateescape")
        is_right = self._token is not None and hmac.compare_digest(shown, self._token)
        # The scheme is case-insensitive (RFC 9110), the token is not.
        if not is_right or scheme.lower() != "bearer":
            raise HttpError(
                HTTPStatus.UNAUTHORIZED,
                "The bearer token is missing or wrong.",
                ErrorCode.UNAUTHORIZED,
                {"WWW-Authenticate": "Bearer"},
            )


def _without_port(host_header: str) -> str:
    host = host_header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
