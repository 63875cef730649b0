"""Client of central: adds credentials and handles the failures common to both protocols."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType

from yarl import URL

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.auth import Credentials
from sync.delivery.transports.http import Answer, Line
from sync.delivery.transports.responses import sorted_out

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """Sends requests below `url`. `now` (aware) is used for a `Retry-After` without `Date`."""

    line: Line
    url: str
    credentials: Credentials
    now: Callable[[], datetime]

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = _NONE,
    ) -> Answer | Blocked | RetryLater:
        """Send a request; after a 401 once more if there are newer credentials.

        `path` is percent-encoded and starts with a slash. A returned `Answer` is protocol
        specific: refused callers and transient failures are `Blocked` and `RetryLater`.
        """
        url = URL(self.url.rstrip("/") + path, encoded=True)
        proof = await self.credentials.headers()
        if isinstance(proof, (Blocked, RetryLater)):
            return proof
        answer = await self.line.ask(method, url, headers={**headers, **proof}, body=body)
        if isinstance(answer, Answer) and answer.status == HTTPStatus.UNAUTHORIZED:
            newer = await self.credentials.headers(refused=proof)
            if isinstance(newer, (Blocked, RetryLater)):
                return newer
            if newer != proof:
                answer = await self.line.ask(method, url, headers={**headers, **newer}, body=body)
        return sorted_out(answer, self.now()) if isinstance(answer, Answer) else answer
