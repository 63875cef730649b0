"""Scripted head office without sockets, for tests that run many histories."""

from collections.abc import Mapping

from multidict import CIMultiDict
from yarl import URL

from sync.delivery.outcomes import Blocked, FailureCause, RetryLater
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from tests.support.central.fault_server import Request
from tests.support.central.faults import Lost
from tests.support.central.scripted import ScriptedCentral


class InMemoryClient(HttpClient):
    """Passes each request directly to `central`; no request arrives while `is_disconnected`.

    `cause` is the failure that the client then sees; `tries` counts all requests.
    """

    def __init__(self, central: ScriptedCentral) -> None:
        super().__init__(HttpOptions(timeout_seconds=1))
        self.central = central
        self.is_disconnected = False
        self.cause = FailureCause.NETWORK_DOWN
        self.tries = 0

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        server: str = "",
    ) -> HttpResponse | Blocked | RetryLater:
        """Return the answer of the scripted head office."""
        self.tries += 1
        if self.is_disconnected:
            return RetryLater(self.cause, "disconnected")
        request = Request(method, url.raw_path, dict(url.query), CIMultiDict(headers), body or b"")
        answer = await self.central.answer(request)
        if isinstance(answer, Lost) or answer.cut_after is not None:
            return RetryLater(FailureCause.NO_RESPONSE, "the response was lost")
        return HttpResponse(answer.status, CIMultiDict(answer.headers), answer.body)
