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
from sync.delivery.transports.responses import classify, decoded, unexpected

# A token is renewed after this share of its lifetime.
RENEW_AT = 0.8
# Lifetime of a token without `expires_in`, which is optional (RFC 6749, 5.1).
_DEFAULT_SECONDS = 3_600.0
_MAX_SECONDS = 86_400.0
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
        http: HttpClient,
        client: OAuthClient,
        monotonic_seconds: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._client = client
        self._monotonic_seconds = monotonic_seconds
        self._now = now
        self._last: Headers | Blocked | RetryLater = {}
        self._usable_until = float("-inf")
        self._requests = 0
        self._requesting = asyncio.Lock()

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:
        """Return the token's header; if the cached token was `refused`, that of a new one."""
        if self._is_usable(refused):
            return self._last
        requests_before = self._requests
        async with self._requesting:
            # A caller that waited for another's request takes its result, even a failure.
            if self._requests == requests_before:
                self._last = await self._request_token()
                self._requests += 1
        return self._last

    def _is_usable(self, refused: Headers | None) -> bool:
        is_token = not isinstance(self._last, (Blocked, RetryLater))
        return is_token and self._last != refused and self._monotonic_seconds() < self._usable_until

    async def _request_token(self) -> Headers | Blocked | RetryLater:
        self._usable_until = float("-inf")
        secret = secret_of(self._client.client_secret_file)
        if isinstance(secret, Blocked):
            return secret
        requested_at = self._monotonic_seconds()
        response = await self._http.request(
            "POST",
            URL(self._client.token_url, encoded=True),
            headers={
                "Authorization": _basic(self._client.client_id, secret),
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=_form(self._client.scope),
        )
        if isinstance(response, HttpResponse):
            return self._read(response, requested_at)
        return _as_token_failure(response) if isinstance(response, RetryLater) else response

    def _read(self, response: HttpResponse, requested_at: float) -> Headers | Blocked | RetryLater:
        if response.status in _REFUSED:
            return Blocked(BlockedReason.CREDENTIALS, _refusal(response), response.status)
        token = _token_in(response)
        if token is None:
            return _as_token_failure(_failure(response, self._now()))
        seconds = _DEFAULT_SECONDS if token.expires_in is None else token.expires_in
        self._usable_until = requested_at + RENEW_AT * min(max(seconds, 0.0), _MAX_SECONDS)
        return {"Authorization": f"Bearer {token.access_token}"}


def _basic(client_id: str, secret: str) -> str:
    """Return HTTP Basic of the form-encoded client id and secret (RFC 6749, 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _form(scope: str) -> bytes:
    members = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    return urlencode(members).encode()


def _token_in(response: HttpResponse) -> _Token | None:
    token = decoded(_token, response.body) if response.status == HTTPStatus.OK else None
    if token is None or token.token_type.lower() != "bearer":
        return None
    text = token.access_token
    is_valid = bool(text) and text.isascii() and text.isprintable() and " " not in text
    return token if is_valid else None


def _as_token_failure(failure: RetryLater) -> RetryLater:
    """Return the failure as one of the token endpoint: nothing was sent to central itself."""
    if not failure.may_have_arrived:
        return failure
    detail = f"the token endpoint: {failure.detail}"
    return replace(failure, cause=FailureCause.NO_TOKEN, detail=detail)


def _failure(response: HttpResponse, now: datetime) -> RetryLater:
    """Return the failure of a response without a token; 400 and 401 are handled before."""
    outcome = classify(response, now)
    if isinstance(outcome, RetryLater):
        return outcome
    return unexpected(response, "not a token endpoint's response")


def _refusal(response: HttpResponse) -> str:
    body = decoded(_token_error, response.body)
    error = body.error if body is not None and body.error in _ERRORS else "no reason given"
    return f"the token endpoint refuses this client ({error}): check client_id and its secret"
