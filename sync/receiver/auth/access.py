"""Authentication: agents by bearer token; readers by admin token, cookie or proxy header."""

import hmac
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from sync.protocol.wire import ErrorCode
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.session_cookie import COOKIE, is_good, new_pass
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.runtime.http_errors import HttpError
from sync.runtime.settings.types import is_loopback


class AgentAccess:
    """Authenticates enrolled agents."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    async def caller(self, request: web.Request, at: datetime) -> EnrolledAgent:
        """Return the authenticated agent. Raises `HttpError` (401) otherwise."""
        token = _bearer(request)
        caller = await self._enrolment.find(token, at) if token else None
        if caller is None:
            raise _unauthorized("This request needs the token of an enrolled agent")
        return caller


def check_name(caller: EnrolledAgent, store_id: str, till_id: str) -> None:
    """Raise `HttpError` (403) unless the store and till in the body are those of the token."""
    if AgentName(store_id, till_id) != caller.name:
        raise HttpError(
            HTTPStatus.FORBIDDEN,
            "This token is of another store or till",
            ErrorCode.FORBIDDEN,
        )


class ReaderAccess:
    """Authorizes read access by the `[access]` settings; without any, only from this machine.

    "This machine" means a loopback peer address and a loopback `Host` header. The header check
    stops DNS rebinding from a browser here, and requests that a reverse proxy forwards.
    """

    def __init__(
        self, admin_token: str | None, trusted_proxy_header: str, now: Callable[[], datetime]
    ) -> None:
        self._admin_token = None if admin_token is None else admin_token.encode()
        self._proxy_header = trusted_proxy_header
        self._now = now

    @property
    def takes_token(self) -> bool:
        """True if an admin token is configured, so that readers can sign in."""
        return self._admin_token is not None

    def check(self, request: web.Request) -> None:
        """Raise `HttpError` (401) unless the request may read."""
        if self._proxy_header and request.headers.get(self._proxy_header):
            return
        if self._admin_token is not None:
            if self._is_token(_bearer(request)) or self.has_signed_in(request):
                return
        elif not self._proxy_header and _is_of_this_machine(request):
            return
        raise _unauthorized("Reading needs the token of [access] admin_token_file")

    def has_signed_in(self, request: web.Request) -> bool:
        """Return whether the request carries a valid session cookie."""
        shown = request.cookies.get(COOKIE, "")
        return self._admin_token is not None and is_good(shown, self._admin_token, self._now())

    def sign_in(self, shown: str) -> str | None:
        """Return a new session cookie value if `shown` is the admin token, else None."""
        if self._admin_token is None or not self._is_token(shown):
            return None
        return new_pass(self._admin_token, self._now())

    def _is_token(self, shown: str) -> bool:
        written = shown.encode("utf-8", "surrogateescape")
        return self._admin_token is not None and hmac.compare_digest(written, self._admin_token)


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _unauthorized(message: str) -> HttpError:
    return HttpError(
        HTTPStatus.UNAUTHORIZED,
        message,
        ErrorCode.UNAUTHORIZED,
        {"WWW-Authenticate": "Bearer"},
    )


def _is_of_this_machine(request: web.Request) -> bool:
    try:
        name = urlsplit(f"//{request.host}").hostname
    except ValueError:
        return False
    return is_loopback(request.remote or "") and is_loopback(name or "")
