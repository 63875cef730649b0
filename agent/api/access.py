"""Access control: checks Host, the page that sent the request and, if configured, the token.

A web page open in a browser on the POS machine can send requests to localhost. The checks of
`Origin` and `Sec-Fetch-Site` reject pages of other origins; the `Host` check rejects DNS rebinding,
a foreign name that resolves to 127.0.0.1.
"""

import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.api.reasons import REASON
from agent.api.responses import RECEIPT, REQUEST_ID
from sync.protocol.wire import ErrorCode
from sync.runtime.masking import mask_secrets
from sync.runtime.network.http_errors import HttpError
from sync.runtime.settings.types import is_loopback

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT",
    "Access-Control-Max-Age": "600",
}


# Sent by browsers (W3C Fetch Metadata), and not by tills: the page is the agent's own, or the
# address was typed. `same-site` is any other port of localhost.
_FETCH_SITE, _FETCH_MODE, _FETCH_DEST = "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"
_OWN_SITES = frozenset({"same-origin", "none"})
_OWN_HEADERS = ("Authorization", "Content-Type")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# Private Network Access (Chromium before 142), and its later name.
_NETWORKS = ("Private-Network", "Local-Network")
# Of a host or an origin in a reason.
_MAX_NAMED = 100
_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


class Access:
    """Enforces `[api] allowed_hosts`, `cors_origins`, `token_file` and `admin_token_file`.

    `token` and `admin_token` return the token as it now is; None: the setting is not set.
    """

    def __init__(
        self,
        allowed_hosts: frozenset[str],
        cors_origins: frozenset[str],
        token: Callable[[], str] | None = None,
        admin_token: Callable[[], str] | None = None,
    ) -> None:
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._cors_origins = cors_origins
        self._read_token, self._read_admin_token = token, admin_token
        self._is_allowed_host = lru_cache(maxsize=64)(self._check_host)

    def check(self, request: web.BaseRequest) -> None:
        """Raise an `HttpError` if the request is not allowed."""
        headers = request.headers
        host = headers.get(hdrs.HOST, "")
        if not self._is_allowed_host(host):
            message = "This Host is not allowed. Use localhost, or add it to [api] allowed_hosts."
            named = _named(host) or "of no name"
            reason = f"Host {named} is not allowed: use localhost, or add it to [api] allowed_hosts"
            if not host:
                reason = "the Host header is missing: send one, such as Host: 127.0.0.1"
            raise _forbidden(message, reason)
        if not self._is_from_allowed_page(request, host):
            message = "This Origin is not allowed. Add it to [api] cors_origins."
            raise _forbidden(message, _fault_of_page(request))
        if (token := self._token) is not None:
            self._check_token(request, token)

    @property
    def _token(self) -> bytes | None:
        return None if self._read_token is None else self._read_token().encode()

    @property
    def _admin_token(self) -> bytes | None:
        return None if self._read_admin_token is None else self._read_admin_token().encode()

    @property
    def needs_admin_token(self) -> bool:
        """Whether an action needs the token in `[api] admin_token_file`."""
        return self._admin_token is not None

    def require_admin(self, request: web.BaseRequest) -> str:
        """Return the kind of the request's token: `admin`, `api` or `none`.

        Raises an `HttpError` if `[api] admin_token_file` is set and the token is another one.
        """
        if (admin_token := self._admin_token) is None:
            return "none" if self._token is None else "api"
        if self._has_token(request, admin_token):
            return "admin"
        message = "This needs the token in [api] admin_token_file."
        if self._token is not None:
            raise _forbidden(message, "this needs the token in [api] admin_token_file")
        raise _unauthorized(message, _fault_of_token(request))

    def headers_for(self, request: web.BaseRequest) -> dict[str, str]:
        """Return the CORS headers that let an allowed page read the answer."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin not in self._cors_origins:
            return {}
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": f"{RECEIPT}, {REASON}, {REQUEST_ID}, Retry-After",
            "Vary": "Origin",
        }
        return headers | (_preflight_headers(request) if self.is_preflight(request) else {})

    def is_preflight(self, request: web.BaseRequest) -> bool:
        """Return whether this is the CORS preflight request of an allowed origin."""
        return (
            request.method == hdrs.METH_OPTIONS
            and request.headers.get(hdrs.ORIGIN) in self._cors_origins
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        )

    def _is_from_allowed_page(self, request: web.BaseRequest, host: str) -> bool:
        """Return whether the request comes from an allowed page, or from no page at all."""
        headers = request.headers
        if (origin := headers.get(hdrs.ORIGIN)) is not None:
            own = f"{request.scheme}://{host}".lower()
            return origin in self._cors_origins or origin.lower() == own
        # Without Origin: a link, or an element such as <img>, whose answer no page can read.
        if (site := headers.get(_FETCH_SITE)) is None or site in _OWN_SITES:
            return True
        is_link = headers.get(_FETCH_MODE) == "navigate" and headers.get(_FETCH_DEST) == "document"
        return is_link and request.method in _SAFE_METHODS

    def _check_host(self, host_header: str) -> bool:
        host = _without_port(host_header)
        return host in self._allowed_hosts or is_loopback(host)

    def _check_token(self, request: web.BaseRequest, token: bytes) -> None:
        if request.path in OPEN_PATHS or self.is_preflight(request):
            return
        if self._has_token(request, token):
            return
        admin_token = self._admin_token
        if admin_token is None or not self._has_token(request, admin_token):
            message = "The bearer token is missing or wrong."
            raise _unauthorized(message, _fault_of_token(request))

    def _has_token(self, request: web.BaseRequest, token: bytes) -> bool:
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        is_right = hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token)
        # The scheme is case-insensitive (RFC 9110), the token is not.
        return is_right and scheme.lower() == "bearer"


def _preflight_headers(request: web.BaseRequest) -> dict[str, str]:
    """Return the headers that grant a preflight: tracing libraries may add any header to a request.

    Some browsers also ask for permission to reach this network.
    """
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
    names = [name for one in asked.split(",") if _HEADER_NAME.fullmatch(name := one.strip())]
    ours = [name for name in _OWN_HEADERS if name.lower() not in map(str.lower, names)]
    networks = {
        f"Access-Control-Allow-{network}": "true"
        for network in _NETWORKS
        if request.headers.get(f"Access-Control-Request-{network}") == "true"
    }
    return {
        **_PREFLIGHT_HEADERS,
        "Access-Control-Allow-Headers": ", ".join([*ours, *names]),
        "Vary": "Origin, Access-Control-Request-Headers",
        **networks,
    }


def _unauthorized(message: str, reason: str) -> HttpError:
    status, code = HTTPStatus.UNAUTHORIZED, ErrorCode.UNAUTHORIZED
    return HttpError(status, message, code, {"WWW-Authenticate": "Bearer"}, reason=reason)


def _forbidden(message: str, reason: str) -> HttpError:
    return HttpError(HTTPStatus.FORBIDDEN, message, ErrorCode.FORBIDDEN, reason=reason)


def _fault_of_token(request: web.BaseRequest) -> str:
    given = request.headers.get(hdrs.AUTHORIZATION)
    if given is None:
        return "there is no Authorization header: send the token as Bearer"
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer":
        return "Authorization is not of the scheme Bearer"
    return "the token is wrong" if token.strip() else "Authorization has no token"


def _fault_of_page(request: web.BaseRequest) -> str:
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None:
        return f"Origin {_named(origin) or 'of no name'} is not in [api] cors_origins"
    return "a page of another site sent this (Sec-Fetch-Site), without an Origin"


def _named(text: str) -> str:
    """Return free text of the client for a reason: masked before it is cut."""
    return mask_secrets(text)[:_MAX_NAMED]


def _without_port(host_header: str) -> str:
    host = host_header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
