"""OAuth 2.0 client credentials (RFC 6749, 4.4): caches a token, renews it before it expires."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import msgspec
from yarl import URL

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.auth import Headers, secret_of
from sync.delivery.transports.http_client import HttpClient, HttpResponse
from sync.delivery.transports.responses import classify, not_central

# A token is renewed after this share of its lifetime.
RENEWED_AT = 0.8
# Lifetime of a token without `expires_in`, which is optional (RFC 6749, 5.1).
_USUAL_SECONDS = 3_600.0
_LONGEST_SECONDS = 86_400.0
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
# RFC 6749, 5.2. Other text of a response is never shown.
_ERRORS = {
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
}


class _Token(msgspec.Struct):
    access_token: str
    token_type: str
    expires_in: float | None = None


class _TokenError(msgspec.Struct):
    error: str


_token = msgspec.json.Decoder(_Token, strict=False)
_token_error = msgspec.json.Decoder(_TokenError)


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """OAuth client settings; the secret is read from its file at each use."""

    token_url: str
    client_id: str
    client_secret_file: Path
    scope: str = ""


class ClientCredentials:
    """Bearer tokens from a token endpoint. Concurrent callers share one token request."""

    def __init__(
        self,
        line: HttpClient,
        client: OAuthClient,
        monotonic_seconds: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._line = line
        self._client = client
        self._monotonic_seconds = monotonic_seconds
        self._now = now
        self._last: Headers | Blocked | RetryLater = {}
        self._usable_until = float("-inf")
        self._asked = 0
        self._asking = asyncio.Lock()

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:
        """Return the token's header; if the cached token was `refused`, that of a new one."""
        if self._is_usable(refused):
            return self._last
        asked_before = self._asked
        async with self._asking:
            # A caller that waited for another's request takes its result, even a failure.
            if self._asked == asked_before:
                self._last = await self._ask()
                self._asked += 1
        return self._last

    def _is_usable(self, refused: Headers | None) -> bool:
        is_token = not isinstance(self._last, (Blocked, RetryLater))
        return is_token and self._last != refused and self._monotonic_seconds() < self._usable_until

    async def _ask(self) -> Headers | Blocked | RetryLater:
        self._usable_until = float("-inf")
        secret = secret_of(self._client.client_secret_file)
        if isinstance(secret, Blocked):
            return secret
        asked_at = self._monotonic_seconds()
        answer = await self._line.request(
            "POST",
            URL(self._client.token_url, encoded=True),
            headers={
                "Authorization": _basic(self._client.client_id, secret),
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=_form(self._client.scope),
        )
        if isinstance(answer, HttpResponse):
            return self._read(answer, asked_at)
        return _of_the_endpoint(answer) if isinstance(answer, RetryLater) else answer

    def _read(self, answer: HttpResponse, asked_at: float) -> Headers | Blocked | RetryLater:
        if answer.status in _REFUSED:
            return Blocked(BlockedReason.CREDENTIALS, _why_refused(answer), answer.status)
        token = _token_in(answer)
        if token is None:
            return _of_the_endpoint(_trouble(answer, self._now()))
        seconds = _USUAL_SECONDS if token.expires_in is None else token.expires_in
        self._usable_until = asked_at + RENEWED_AT * min(max(seconds, 0.0), _LONGEST_SECONDS)
        return {"Authorization": f"Bearer {token.access_token}"}


def _basic(client_id: str, secret: str) -> str:
    """Return HTTP Basic of the form-encoded client id and secret (RFC 6749, 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _form(scope: str) -> bytes:
    members = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    return urlencode(members).encode()


def _token_in(answer: HttpResponse) -> _Token | None:
    if answer.status != HTTPStatus.OK:
        return None
    try:
        token = _token.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    text = token.access_token
    is_fit = bool(text) and text.isascii() and text.isprintable() and " " not in text
    return token if is_fit and token.token_type.lower() == "bearer" else None


def _of_the_endpoint(cause: RetryLater) -> RetryLater:
    """Return the failure as one of the token endpoint: nothing was sent to central itself."""
    if not cause.may_have_arrived:
        return cause
    detail = f"the token endpoint: {cause.detail}"
    return replace(cause, cause=FailureCause.NO_TOKEN, detail=detail)


def _trouble(answer: HttpResponse, now: datetime) -> RetryLater:
    """Return the failure of a response without a token; 400 and 401 are handled before."""
    sorted_answer = classify(answer, now)
    if isinstance(sorted_answer, RetryLater):
        return sorted_answer
    return not_central(answer, "not a token endpoint's answer")


def _why_refused(answer: HttpResponse) -> str:
    try:
        said = _token_error.decode(answer.body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = ""
    named = said if said in _ERRORS else "no reason given"
    return f"the token endpoint refuses this client ({named}): check client_id and its secret"
