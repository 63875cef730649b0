"""OAuth 2.0 client credentials (RFC 6749, 4.4): caches a token, renews it before it expires."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote_plus, urlencode

import aiohttp
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
_MAX_TOKEN = 16_384
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}


class _Token(msgspec.Struct):
    # Sent back in a header with each request.
    access_token: Annotated[str, msgspec.Meta(pattern=r"^[!-~]+\Z", max_length=_MAX_TOKEN)]
    token_type: Annotated[str, msgspec.Meta(pattern=r"(?i)^bearer\Z")]
    expires_in: float | None = None


class _TokenError(msgspec.Struct):
    # The codes of RFC 6749, 5.2. Other text of a response is never shown.
    error: Literal[
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ]


_token = msgspec.json.Decoder(_Token, strict=False)
_token_error = msgspec.json.Decoder(_TokenError)


@dataclass(slots=True)
class ClientCredentials:
    """Bearer tokens from a token endpoint. Concurrent callers share one token request.

    The client's secret is read from its file at each use.
    """

    http: HttpClient
    token_url: str
    client_id: str
    client_secret_file: Path
    scope: str
    monotonic_seconds: Callable[[], float]
    now: Callable[[], datetime]
    # Not in the repr: it holds the token.
    _last: Headers | Blocked | RetryLater = field(default_factory=dict, init=False, repr=False)
    _usable_until: float = field(default=-math.inf, init=False)
    _requests: int = field(default=0, init=False)
    _requesting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

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
        return is_token and self._last != refused and self.monotonic_seconds() < self._usable_until

    async def _request_token(self) -> Headers | Blocked | RetryLater:
        self._usable_until = -math.inf
        secret = secret_of(self.client_secret_file)
        if isinstance(secret, Blocked):
            return secret
        requested_at = self.monotonic_seconds()
        # RFC 6749, 2.3.1: HTTP Basic of the form-encoded client id and secret.
        basic = aiohttp.encode_basic_auth(quote_plus(self.client_id), quote_plus(secret))
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        response = await self.http.request(
            "POST",
            URL(self.token_url, encoded=True),
            headers={"Authorization": basic, "Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )
        if isinstance(response, HttpResponse):
            return self._read(response, requested_at)
        return _as_token_failure(response) if isinstance(response, RetryLater) else response

    def _read(self, response: HttpResponse, requested_at: float) -> Headers | Blocked | RetryLater:
        if response.status in _REFUSED:
            body = decoded(_token_error, response.body)
            error = "no reason given" if body is None else body.error
            detail = (
                f"the token endpoint refuses this client ({error}): check client_id and its secret"
            )
            return Blocked(BlockedReason.CREDENTIALS, detail, response.status)
        token = decoded(_token, response.body) if response.status == HTTPStatus.OK else None
        if token is None:
            failure = classify(response, self.now())
            if not isinstance(failure, RetryLater):
                failure = unexpected(response, "not a token endpoint's response")
            return _as_token_failure(failure)
        seconds = token.expires_in
        if seconds is None or math.isnan(seconds):
            seconds = _DEFAULT_SECONDS
        self._usable_until = requested_at + RENEW_AT * min(max(seconds, 0.0), _MAX_SECONDS)
        return {"Authorization": f"Bearer {token.access_token}"}


def _as_token_failure(failure: RetryLater) -> RetryLater:
    """Return the failure as one of the token endpoint: nothing was sent to central itself."""
    if not failure.may_have_arrived:
        return failure
    detail = f"the token endpoint: {failure.detail}"
    return replace(failure, cause=FailureCause.NO_TOKEN, detail=detail)
