"""Who asks: an agent by its token, a reader by the admin's token or a trusted proxy."""

import hmac
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from sync.protocol.wire import ErrorCode
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.session_cookie import COOKIE, is_good, new_pass
from sync.receiver.auth.tokens import AgentName
from sync.receiver.errors import Problem
from sync.receiver.ingest.inbound import Caller
from sync.runtime.settings.types import is_loopback


class AgentAccess:
    """Lets in the agents that are enrolled."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    async def caller(self, request: web.Request, at: datetime) -> Caller:
        """Return which agent asks; raises a `Problem` for anybody else."""
        token = _bearer(request)
        caller = await self._enrolment.find(token, at) if token else None
        if caller is None:
            raise _unauthorized("This request needs the token of an enrolled agent")
        return caller


def check_name(caller: Caller, store_id: str, till_id: str) -> None:
    """Raise a `Problem` unless the caller speaks in its own name."""
    if AgentName(store_id, till_id) != caller.name:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "This token is of another store or till",
            ErrorCode.FORBIDDEN,
        )


class ReaderAccess:
    """The rules of `[access]`; where nothing is set, whoever reads on this machine may.

    On this machine: from a loopback address, and by a loopback name. A page open in a browser
    here can be led to our port by a name of its own, and a proxy calls by the outer name.
    """

    def __init__(
        self, admin_token: str | None, trusted_proxy_header: str, now: Callable[[], datetime]
    ) -> None:
        self._admin_token = None if admin_token is None else admin_token.encode()
        self._proxy_header = trusted_proxy_header
        self._now = now

    @property
    def takes_token(self) -> bool:
        """Whether there is a token by which a reader can sign in."""
        return self._admin_token is not None

    def check(self, request: web.Request) -> None:
        """Raise a `Problem` unless the request may read."""
        if self._proxy_header and request.headers.get(self._proxy_header):
            return
        if self._admin_token is not None:
            if self._is_token(_bearer(request)) or self.has_signed_in(request):
                return
        elif not self._proxy_header and _is_of_this_machine(request):
            return
        raise _unauthorized("Reading needs the token of [access] admin_token_file")

    def has_signed_in(self, request: web.Request) -> bool:
        """Tell whether a browser asks in which somebody has signed in."""
        shown = request.cookies.get(COOKIE, "")
        return self._admin_token is not None and is_good(shown, self._admin_token, self._now())

    def sign_in(self, shown: str) -> str | None:
        """Return a pass for the cookie, in exchange for the readers' token; None for another."""
        if self._admin_token is None or not self._is_token(shown):
            return None
        return new_pass(self._admin_token, self._now())

    def _is_token(self, shown: str) -> bool:
        written = shown.encode("utf-8", "surrogateescape")
        return self._admin_token is not None and hmac.compare_digest(written, self._admin_token)


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _unauthorized(message: str) -> Problem:
    return Problem(
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
