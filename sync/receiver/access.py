"""Who asks: an agent by its token, a reader by the admin's token or a trusted proxy."""

import hmac
import ipaddress
from datetime import datetime
from http import HTTPStatus

from aiohttp import hdrs, web
from yarl import URL

from sync.receiver.arrivals import Caller
from sync.receiver.enrolment import Enrolment
from sync.receiver.problems import Problem
from sync.receiver.tokens import AgentName
from sync.wire import ErrorCode


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
    """The rules of `[access]`; where nothing is set, whoever reads on this machine may."""

    def __init__(self, admin_token: str | None, trusted_proxy_header: str) -> None:
        self._admin_token = None if admin_token is None else admin_token.encode()
        self._proxy_header = trusted_proxy_header

    def check(self, request: web.Request) -> None:
        """Raise a `Problem` unless the request may read."""
        if self._proxy_header and request.headers.get(self._proxy_header):
            return
        if self._admin_token is not None:
            shown = _bearer(request).encode("utf-8", "surrogateescape")
            if hmac.compare_digest(shown, self._admin_token):
                return
        elif not self._proxy_header and _is_near(request):
            return
        raise _unauthorized("Reading needs the token of [access] admin_token_file")


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


def _is_near(request: web.Request) -> bool:
    """Tell whether somebody on this machine asks, and not a page that a browser was lured to.

    Such a page reaches us under a name of its own (DNS rebinding).
    """
    return _is_loopback(request.remote) and _is_name_of_loopback(request.host)


def _is_name_of_loopback(host: str) -> bool:
    try:
        name = URL(f"http://{host}").host or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(host: str | None) -> bool:
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    # A socket that listens on "::" sees IPv4 callers as ::ffff:127.0.0.1.
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
