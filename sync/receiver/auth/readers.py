"""Read access: by the readers' token, a session, a trusted proxy, or from this machine."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from aiohttp import web

from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.audit.author import Author
from sync.receiver.auth.authenticate import bearer_token, unauthorized
from sync.receiver.auth.guess_limiter import GuessLimiter
from sync.receiver.auth.peers import Peers, is_local
from sync.receiver.auth.reader_sessions import ReaderSessions
from sync.receiver.auth.sign_in_link import SignInLink
from sync.runtime.network.http_errors import too_many_requests
from sync.runtime.refusal_log import RefusalLog, fingerprint

_COOKIE = "loyalty_hq_reader"


@dataclass(frozen=True, slots=True)
class Reader:
    """A caller with read access. `user` is how it was granted, or the name from the proxy."""

    user: str
    is_signed_in: bool = False


class SignInRefusal(StrEnum):
    """Reason why a sign-in was refused."""

    WRONG_TOKEN = "wrong_token"  # noqa: S105 - a reason, not a token
    LINK_SPENT = "link_spent"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class ReaderRules:
    """The `[access]` settings: `token` is None if there is none, `proxy_header` empty.

    `token` returns the token as it now is.
    """

    token: Callable[[], str] | None = None
    proxy_header: str = ""
    open_on_loopback: bool = False


@dataclass(frozen=True, slots=True)
class RefusedReaders:
    """Logs of refused sign-ins, and of refused bearer tokens."""

    sign_ins: RefusalLog
    tokens: RefusalLog

    def close(self) -> None:
        """Log the counts that are left. Idempotent."""
        self.sign_ins.close()
        self.tokens.close()


@dataclass(frozen=True, slots=True)
class GuessLimiters:
    """Limiters of wrong tokens: of the form and of the API, so that neither blocks the other.

    `refused` logs the counted failures.
    """

    form: GuessLimiter
    api: GuessLimiter
    refused: RefusedReaders


class ReaderAccess:
    """Authorizes readers, and signs them in and out.

    `sessions` is None if there is no token; `link` if no terminal shows it.
    """

    def __init__(
        self,
        rules: ReaderRules,
        peers: Peers,
        limiters: GuessLimiters,
        sessions: ReaderSessions | None = None,
        link: SignInLink | None = None,
        *,
        now: Callable[[], datetime],
        new_hex: Callable[[], str],
    ) -> None:
        self.peers = peers
        self._rules = rules
        self._limiters = limiters
        self._sessions = sessions
        self._link = link
        self._now = now
        self._new_hex = new_hex

    @property
    def has_token(self) -> bool:
        """True if there is a readers' token, so that readers can sign in."""
        return self._sessions is not None

    async def check(self, request: web.Request) -> Reader:
        """Return the reader. Raises `HttpError`: 401, or 429 after wrong tokens."""
        if name := self._name_from_proxy(request):
            return Reader(name)
        given = bearer_token(request)
        if given and self._rules.token is not None and self._is_right_bearer(request, given):
            return Reader("readers' token")
        if await self._is_signed_in(request):
            return Reader("signed-in reader", is_signed_in=True)
        if self._rules.open_on_loopback and is_local(request):
            return Reader("reader on this machine")
        raise unauthorized("Reading requires the readers' token")

    async def sign_in(
        self, request: web.Request, token: str, link: str
    ) -> str | tuple[SignInRefusal, int]:
        """Return the value of a new session cookie, or why not and the seconds to wait."""
        outcome = await self._sign_in(request, token, link)
        if not isinstance(outcome, str):
            peer = self.peers.address_of(request)
            self._limiters.refused.sign_ins.note(
                peer, outcome[0].value, fingerprint=fingerprint(token)
            )
        return outcome

    async def _sign_in(
        self, request: web.Request, token: str, link: str
    ) -> str | tuple[SignInRefusal, int]:
        if self._sessions is None:
            return SignInRefusal.WRONG_TOKEN, 0
        if link:
            if self._link is None or not self._link.redeem(link):
                return SignInRefusal.LINK_SPENT, 0
            return await self._start_session(self._sessions, request, "link")
        peer, limiter = self.peers.address_of(request), self._limiters.form
        if wait := limiter.wait_seconds(peer):
            return SignInRefusal.WAIT, wait
        if not self._is_token(token):
            limiter.record_failure(peer, token)
            return SignInRefusal.WRONG_TOKEN, limiter.wait_seconds(peer)
        return await self._start_session(self._sessions, request, "token")

    async def sign_out(self, request: web.Request) -> None:
        """End the session of the request's cookie, if any."""
        if self._sessions is not None:
            audit = self._audit(request, "signed-in reader")
            await self._sessions.end(self._cookie(request), self._now(), audit)

    def cookie_name(self, request: web.Request) -> str:
        """Return the name of the session cookie.

        The prefix `__Host-` makes browsers refuse it from other hosts and without TLS.
        """
        return f"__Host-{_COOKIE}" if self.peers.is_https(request) else _COOKIE

    def _name_from_proxy(self, request: web.Request) -> str:
        header = self._rules.proxy_header
        if not header or not self.peers.is_trusted_proxy(request):
            return ""
        given = request.headers.getall(header, ())
        # If the header came twice, one is the client's own: believe neither.
        return given[0].strip() if len(given) == 1 else ""

    def _is_right_bearer(self, request: web.Request, given: str) -> bool:
        peer, limiter = self.peers.address_of(request), self._limiters.api
        mark = fingerprint(given)
        if wait := limiter.wait_seconds(peer):
            self._limiters.refused.tokens.note(peer, SignInRefusal.WAIT.value, fingerprint=mark)
            raise too_many_requests("Too many wrong tokens", wait)
        if self._is_token(given):
            return True
        limiter.record_failure(peer, given)
        self._limiters.refused.tokens.note(peer, SignInRefusal.WRONG_TOKEN.value, fingerprint=mark)
        return False

    async def _is_signed_in(self, request: web.Request) -> bool:
        if self._sessions is None:
            return False
        return await self._sessions.is_valid(self._cookie(request), self._now())

    async def _start_session(
        self, sessions: ReaderSessions, request: web.Request, method: str
    ) -> str:
        return await sessions.start(self._now(), self._audit(request, "readers' token"), method)

    def _audit(self, request: web.Request, user: str) -> AuditLog:
        return AuditLog(Author(user, self.peers.address_of(request)), self._now, self._new_hex)

    def _cookie(self, request: web.Request) -> str:
        return request.cookies.get(self.cookie_name(request), "")

    def _is_token(self, given: str) -> bool:
        encoded = given.encode("utf-8", "surrogateescape")
        token = self._rules.token
        return token is not None and hmac.compare_digest(encoded, token().encode())
