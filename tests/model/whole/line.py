"""The line from an agent to head office, and the faults it has."""

from collections import deque
from collections.abc import Mapping
from enum import StrEnum

import msgspec
import zstandard
from multidict import CIMultiDict
from yarl import URL

from sync.delivery.outcomes import Blocked, FailureCause, RetryLater
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from sync.protocol.wire import BATCHES_PATH, Batch
from tests.model.whole.clocks import TrueTime
from tests.model.whole.head_office import HeadOffice, Sent
from tests.model.whole.kill_switch import SWITCH

DELAY_US = 200_000


class Fault(StrEnum):
    """The fate of one request."""

    NONE = "served"
    LOST = "lost"
    ANSWER_LOST = "answer lost"
    LATE = "late"
    TWICE = "served twice"


_LOST = RetryLater(FailureCause.NO_RESPONSE, "the response was lost")
_HTML = CIMultiDict({"Content-Type": "text/html"})
# What a firewall makes of a content that it dislikes.
DENIALS: list[HttpResponse | RetryLater] = [
    HttpResponse(403, _HTML, b"<html>denied</html>"),
    HttpResponse(500, _HTML, b"<html>failed</html>"),
    HttpResponse(503, CIMultiDict({"Retry-After": "3000"}), b""),
    HttpResponse(200, _HTML, b"<html>log in</html>"),
    _LOST,
]


class Line(HttpClient):
    """Passes requests to head office, each `DELAY_US` on its way; the next ones meet `faults`.

    `denied`: the denial of each request with the content of a till's request, by its number.

    `late`: requests on their way that their sender has given up.
    """

    def __init__(self, office: HeadOffice, time: TrueTime) -> None:
        super().__init__(HttpOptions(timeout_seconds=1))
        self._office, self._time = office, time
        self.faults: deque[Fault] = deque()
        self.late: list[Sent] = []
        self.is_cut = False
        self.denied: dict[int, HttpResponse | RetryLater] = {}

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        server: str = "",
    ) -> HttpResponse | Blocked | RetryLater:
        """Return the answer of head office, as far as it arrives."""
        SWITCH.point()
        if self.is_cut:
            return RetryLater(FailureCause.NETWORK_DOWN, "disconnected")
        fault = self.faults.popleft() if self.faults else Fault.NONE
        sent = Sent(method, url.raw_path, dict(headers), body or b"", self._time.now_us)
        if fault is Fault.LOST:
            return _LOST
        if self.denied and (denial := self._denial(sent)):
            return denial
        if fault is Fault.LATE:
            self.late.append(sent)
            return _LOST
        self._time.pass_us(DELAY_US)
        answer = await self._office.serve(sent)
        if fault is Fault.TWICE:
            answer = await self._office.serve(sent)
        SWITCH.point()
        return _LOST if self.is_cut or fault is Fault.ANSWER_LOST else answer

    def _denial(self, sent: Sent) -> HttpResponse | RetryLater | None:
        if sent.path != BATCHES_PATH:
            return None
        batch = msgspec.json.decode(zstandard.decompress(sent.body), type=Batch)
        documents = [msgspec.json.decode(bytes(event.body)) for event in batch.events]
        numbers = [one["n"] for one in documents if isinstance(one, dict) and "n" in one]
        return next((self.denied[one] for one in numbers if one in self.denied), None)

    async def let_late_arrive(self) -> None:
        """Serve the requests that were on their way."""
        arriving, self.late = self.late, []
        for sent in arriving:
            await self._office.serve(sent)
