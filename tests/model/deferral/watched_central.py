"""Head office behind firewalls: faults of single events, of an endpoint, of contents, of all."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.support.central import Answer, Fault, Request, ScriptedCentral, faults
from tests.support.central.batch_protocol import read_batch
from tests.support.central.faults import Lost

# Of a firewall, a gateway or head office. "too large" is left out: it has rules of its own.
FAULTS: dict[str, Fault] = {
    "401": faults.gateway(401),
    "403": faults.html(403),
    "404": faults.html(404),
    "405": faults.gateway(405),
    "500": faults.problem(500, "INTERNAL_ERROR"),
    "502": faults.html(502),
    "503": faults.overloaded("1", 503),
    "503 for long": faults.overloaded("3000", 503),
    "429 for long": faults.overloaded("3000"),
    "no answer": faults.reset_before,
    "answer lost": faults.answer_lost,
    "cut short": faults.cut_short,
    "another page": faults.captive_portal,
}
NAMES = tuple(FAULTS)
BY_GATEWAY = {"401", "403", "404", "405"}
ENDPOINTS = ("POST", "PUT")
_NUMBER = re.compile(rb'"n":(\d+)')
_ANSWER = re.compile(r"/client/users/(s\d+)/profile/email")


@dataclass
class Troubles:
    """Names of `FAULTS`. Those of an event are met in turn, the last one for ever."""

    of_events: dict[int, list[str]] = field(default_factory=dict)
    of_endpoints: dict[str, str] = field(default_factory=dict)
    of_contents: str | None = None
    of_all: str | None = None

    def end(self) -> None:
        """Let everything pass."""
        self.of_events.clear()
        self.end_common()

    def end_common(self) -> None:
        """Let everything pass but the events that fail by themselves."""
        self.of_endpoints.clear()
        self.of_contents = self.of_all = None

    def of(self, request: Request) -> str | None:
        """Return the fault of a request."""
        numbers = numbers_in(request)
        common = self.of_all or self.of_endpoints.get(request.method)
        if common or (numbers and self.of_contents):
            return common or self.of_contents
        failing = next((one for one in numbers if one in self.of_events), None)
        if failing is None:
            return None
        names = self.of_events[failing]
        return names.pop(0) if len(names) > 1 else names[0]


class WatchedCentral(ScriptedCentral):
    """Counts the requests with each event, and notes an answer that comes before its session."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles = Troubles()
        self.counts: Counter[int] = Counter()
        self.problems: list[str] = []
        self.default_fault = self._fault_of

    async def answer(self, request: Request) -> Answer | Lost:
        """Answer a request, or lose it."""
        self.counts.update(numbers_in(request))
        found = _ANSWER.fullmatch(unquote(request.path))
        if found and found[1] not in self.ledger.sessions:
            self.problems.append(f"an answer of {found[1]} is sent before its session has arrived")
        return await super().answer(request)

    def _fault_of(self, request: Request) -> Fault | None:
        name = self.troubles.of(request)
        return None if name is None else FAULTS[name]


def numbers_in(request: Request) -> Sequence[int]:
    """Return the numbers of the captures whose content is in a request, ascending."""
    content = request.body
    if request.encoding == "zstd":
        batch = read_batch(request.body, request.encoding)
        content = b" ".join(bytes(event.body) for event in batch.events)
    return sorted({int(number) for number in _NUMBER.findall(content)})
