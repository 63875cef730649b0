"""Client of central: adds credentials and handles the failures common to both protocols."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus

from yarl import URL

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.auth import Credentials, Headers
from sync.delivery.transports.http_client import HttpClient, HttpResponse
from sync.delivery.transports.responses import classify

# Gateways answer an expired or revoked token with either.
_REFUSED_CREDENTIALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


@dataclass(frozen=True, slots=True)
class CentralClient:
    """Sends requests below `url`. `now` (aware) is used for a `Retry-After` without `Date`."""

    http: HttpClient
    url: str
    credentials: Credentials
    now: Callable[[], datetime]

    async def request(
        self, method: str, path: str, body: bytes | None = None, headers: Headers | None = None
    ) -> HttpResponse | Blocked | RetryLater:
        """Send a request; after a 401 or 403 once more if there are newer credentials.

        `path` is percent-encoded and starts with a slash. A returned `HttpResponse` is protocol
        specific: refused callers and transient failures are `Blocked` and `RetryLater`.
        """
        url = URL(self.url.rstrip("/") + path, encoded=True)
        headers = headers or {}
        auth = await self.credentials.headers()
        if isinstance(auth, (Blocked, RetryLater)):
            return auth
        response = await self.http.request(method, url, headers={**headers, **auth}, body=body)
        if isinstance(response, HttpResponse) and response.status in _REFUSED_CREDENTIALS:
            newer = await self.credentials.headers(refused=auth)
            if isinstance(newer, RetryLater):
                # Its status is that of the request: perhaps no other one is refused.
                return replace(newer, http_status=response.status)
            if isinstance(newer, Blocked):
                return newer
            if newer != auth:
                merged = {**headers, **newer}
                response = await self.http.request(method, url, headers=merged, body=body)
        return classify(response, self.now()) if isinstance(response, HttpResponse) else response
