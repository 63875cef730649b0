"""Authentication: agents by bearer token; readers by admin token, cookie or proxy header."""

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus

from aiohttp import hdrs, web

from sync.protocol.wire import ErrorCode
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.peers import Peers, is_local
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.runtime.http_errors import HttpError

COOKIE_NAME = "loyalty_hq_reader"
COOKIE_LIFETIME = timedelta(hours=12)
_MAX_DIGITS = 12


async def authenticate_agent(
    request: web.Request, enrolment: Enrolment, at: datetime
) -> EnrolledAgent:
    """Return the agent whose token the request bears. Raises `HttpError` (401) otherwise."""
    token = _bearer_token(request)
    agent = await enrolment.authenticate(token, at) if token else None
    if agent is None:
        raise _unauthorized("This request requires the token of an enrolled agent")
    return agent


def check_sender(agent: EnrolledAgent, store_id: str, till_id: str) -> None:
    """Raise `HttpError` (403) unless the store and till in the body are those of the token."""
    if AgentName(store_id, till_id) != agent.name:
        raise HttpError(
            HTTPStatus.FORBIDDEN, "The token belongs to another store or till", ErrorCode.FORBIDDEN
        )


class ReaderAccess:
    """Authorizes read access by the `[access]` settings; without any, only from this machine.

    See `is_local` for "this machine". The proxy's header is believed from trusted proxies only.
    """

    def __init__(
        self,
        admin_token: str | None,
        trusted_proxy_header: str,
        peers: Peers,
        now: Callable[[], datetime],
    ) -> None:
        self._admin_token = None if admin_token is None else admin_token.encode()
        self._proxy_header = trusted_proxy_header
        self._peers = peers
        self._now = now

    @property
    def has_admin_token(self) -> bool:
        """True if an admin token is configured, so that readers can sign in."""
        return self._admin_token is not None

    def check(self, request: web.Request) -> None:
        """Raise `HttpError` (401) unless the request may read."""
        if self._is_named_by_proxy(request):
            return
        if self._admin_token is not None:
            if self._is_admin_token(_bearer_token(request)) or self.is_signed_in(request):
                return
        elif not self._proxy_header and is_local(request):
            return
        raise _unauthorized("Reading requires the token of [access] admin_token_file")

    def _is_named_by_proxy(self, request: web.Request) -> bool:
        # Twice: one of them is the client's, and nobody knows which.
        given = request.headers.getall(self._proxy_header, ()) if self._proxy_header else ()
        return len(given) == 1 and given[0] != "" and self._peers.is_trusted_proxy(request)

    def is_signed_in(self, request: web.Request) -> bool:
        """Return whether the request carries a valid session cookie."""
        cookie = request.cookies.get(COOKIE_NAME, "")
        return self._admin_token is not None and is_valid_cookie(
            cookie, self._admin_token, self._now()
        )

    def sign_in(self, token: str) -> str | None:
        """Return a new session cookie if `token` is the admin token, else None."""
        if self._admin_token is None or not self._is_admin_token(token):
            return None
        return new_cookie(self._admin_token, self._now())

    def _is_admin_token(self, token: str) -> bool:
        given = token.encode("utf-8", "surrogateescape")
        return self._admin_token is not None and hmac.compare_digest(given, self._admin_token)


def new_cookie(admin_token: bytes, at: datetime) -> str:
    """Return a session cookie that expires `COOKIE_LIFETIME` after `at`.

    It is signed with the admin token and needs no state: receivers that share the token accept
    each other's cookies, and a new token invalidates all of them.
    """
    return _signed(admin_token, int((at + COOKIE_LIFETIME).timestamp()))


def is_valid_cookie(cookie: str, admin_token: bytes, at: datetime) -> bool:
    """Return whether the cookie is signed with `admin_token` and not expired at `at`."""
    until = cookie.partition(".")[0]
    if not (until.isascii() and until.isdigit() and len(until) <= _MAX_DIGITS):
        return False
    expected = _signed(admin_token, int(until)).encode()
    is_signed = hmac.compare_digest(cookie.encode("utf-8", "surrogateescape"), expected)
    return is_signed and at.timestamp() < int(until)


def _signed(admin_token: bytes, until: int) -> str:
    return f"{until}.{hmac.digest(admin_token, f'reader until {until}'.encode(), 'sha256').hex()}"


def _bearer_token(request: web.Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _unauthorized(message: str) -> HttpError:
    return HttpError(
        HTTPStatus.UNAUTHORIZED, message, ErrorCode.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"}
    )
