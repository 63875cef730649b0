"""OAuth 2.0 client credentials (RFC 6749, 4.4): caches a token, renews it before it expires."""

import asyncio
import math
from collections.abc import Callable, Mapping
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
from sync.delivery.transports.responses import (
    NO_ENDPOINT,
    classify,
    decoded,
    is_web_page,
    unexpected,
)

# A token is renewed after this share of its lifetime.
RENEW_AT = 0.8
# Lifetime of a token without a usable `expires_in`, which is optional (RFC 6749, 5.1).
_DEFAULT_SECONDS = 3_600.0
_MAX_SECONDS = 86_400.0
_MAX_TOKEN = 16_384
# A new token that is refused as well shows that the token is not at fault. Until then no newer one
# is requested: a firewall may deny many records, and token endpoints have limits.
_NOT_AT_FAULT_SECONDS = 60.0
_GRANTED = {HTTPStatus.OK, HTTPStatus.CREATED}
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
# By other names than RFC 6750's, or without one.
_BEARER = {"bearer", "bearertoken", ""}
# Each failure to get a token has this in its detail.
TOKEN_ENDPOINT = "the token endpoint"  # noqa: S105 - a name


class _Token(msgspec.Struct):
    # Sent back in a header with each request.
    access_token: Annotated[str, msgspec.Meta(pattern=r"^[!-~]+\Z", max_length=_MAX_TOKEN)]
    token_type: str | None = None
    # A number by the RFC; of some gateways a text, also an empty one.
    expires_in: object = None


# The codes of RFC 6749, 5.2 and 4.1.2.1, and of RFC 8707. Other text of a response is never shown.
_ErrorCode = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
]
_CHECK_CLIENT = "check client_id, its secret and client_auth"
_CHECK_TARGET = "check the audience or resource in parameters, and what this client may do there"
_ADVICE = {
    "invalid_request": "check client_auth, scope and parameters",
    "unsupported_grant_type": "it does not support client credentials",
    "invalid_scope": "check scope",
    "invalid_target": _CHECK_TARGET,
    "access_denied": _CHECK_TARGET,
}


class _TokenError(msgspec.Struct):
    error: _ErrorCode


_token = msgspec.json.Decoder(_Token)
_token_error = msgspec.json.Decoder(_TokenError)


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Registration of this client at a token endpoint.

    `secret_in_form`: send client ID and secret in the form instead of HTTP Basic (RFC 6749, 2.3.1).
    `parameters`: further ones of the token request, such as the audience.
    """

    token_url: str
    client_id: str
    secret_file: Path
    scope: str = ""
    secret_in_form: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)

    def token_request(self, secret: str) -> tuple[Headers, bytes]:
        """Return headers and body of a token request."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        if self.secret_in_form:
            form |= {"client_id": self.client_id, "client_secret": secret}
        else:
            user, password = quote_plus(self.client_id), quote_plus(secret)
            headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
        return headers, urlencode({**self.parameters, **form}).encode()


@dataclass(slots=True)
class ClientCredentials:
    """Bearer tokens from a token endpoint. Concurrent callers share one token request.

    `seconds` is a monotonic clock that advances while the machine sleeps, as the token's does.
    """

    http: HttpClient
    client: OAuthClient
    seconds: Callable[[], float]
    now: Callable[[], datetime]
    # Not in the repr: they hold tokens.
    _token: Headers = field(default_factory=dict, init=False, repr=False)
    _usable_until: float = field(default=-math.inf, init=False)
    _replaced_at: float = field(default=-math.inf, init=False)
    _outcome: Headers | Blocked | RetryLater = field(default_factory=dict, init=False, repr=False)
    _requests: int = field(default=0, init=False)
    _requesting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:
        """Return the token's header; if the cached token was `refused`, that of a new one.

        It is the refused one again if that has just replaced another one that was refused.
        """
        if self._is_usable(refused):
            return self._token
        requests_before = self._requests
        async with self._requesting:
            # A caller that waited for another's request takes its result, even a failure.
            if self._requests == requests_before:
                self._outcome = await self._request_token()
                self._requests += 1
                # After a failure the token before stays: not all may refuse it.
                if not isinstance(self._outcome, (Blocked, RetryLater)):
                    self._token = self._outcome
                    self._replaced_at = -math.inf if refused is None else self.seconds()
        return self._outcome

    def _is_usable(self, refused: Headers | None) -> bool:
        now = self.seconds()
        is_at_fault = self._token == refused and now >= self._replaced_at + _NOT_AT_FAULT_SECONDS
        return now < self._usable_until and not is_at_fault

    async def _request_token(self) -> Headers | Blocked | RetryLater:
        secret = secret_of(self.client.secret_file)
        if isinstance(secret, Blocked):
            return secret
        requested_at = self.seconds()
        headers, body = self.client.token_request(secret)
        url = URL(self.client.token_url, encoded=True)
        response = await self.http.request(
            "POST", url, headers=headers, body=body, server=TOKEN_ENDPOINT
        )
        if isinstance(response, HttpResponse):
            return self._read(response, requested_at)
        return _as_token_failure(response) if isinstance(response, RetryLater) else response

    def _read(self, response: HttpResponse, requested_at: float) -> Headers | Blocked | RetryLater:
        refusal = _refusal(response)
        if refusal is not None:
            fault = secret_of(self.client.secret_file, is_refused=True)
            return fault if isinstance(fault, Blocked) else refusal
        token = decoded(_token, response.body) if response.status in _GRANTED else None
        if token is None:
            failure = classify(response, self.now())
            if not isinstance(failure, RetryLater):
                failure = unexpected(response, _why_no_token(response))
            return _as_token_failure(failure)
        if (token.token_type or "").strip().lower() not in _BEARER:
            return RetryLater(
                FailureCause.NO_TOKEN, f"{TOKEN_ENDPOINT} grants a token that is not a bearer token"
            )
        self._usable_until = requested_at + RENEW_AT * _lifetime_seconds(token.expires_in)
        return {"Authorization": f"Bearer {token.access_token}"}


def _refusal(response: HttpResponse) -> Blocked | None:
    """Return the endpoint's refusal of this client; None if it does not refuse it."""
    error = decoded(_token_error, response.body)
    if error is None and is_web_page(response):
        return None
    if response.status not in _REFUSED and (
        error is None or response.status != HTTPStatus.FORBIDDEN
    ):
        return None
    reason = "no reason given" if error is None else error.error
    advice = _ADVICE.get(reason, _CHECK_CLIENT)
    detail = f"{TOKEN_ENDPOINT} refuses this client ({reason}): {advice}"
    return Blocked(BlockedReason.CREDENTIALS, detail, response.status)


def _why_no_token(response: HttpResponse) -> str:
    if response.status in NO_ENDPOINT:
        return "no such endpoint: check token_url"
    return "not a token endpoint's response"


def _lifetime_seconds(expires_in: object) -> float:
    """Return the lifetime; a usual one if it is not a positive number, as text or as such."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    is_known = 0 < seconds < math.inf and not isinstance(expires_in, bool)
    return min(seconds, _MAX_SECONDS) if is_known else _DEFAULT_SECONDS


def _as_token_failure(failure: RetryLater) -> RetryLater:
    """Return the failure as one of the token endpoint: nothing was sent to central itself."""
    if failure.cause is FailureCause.CENTRAL_DOWN:
        return replace(failure, cause=FailureCause.NO_TOKEN)
    if not failure.may_have_arrived:
        return failure
    detail = f"{TOKEN_ENDPOINT}: {failure.detail}"
    return replace(failure, cause=FailureCause.NO_TOKEN, detail=detail)
