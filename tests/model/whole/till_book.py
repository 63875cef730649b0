"""Everything that tills were told: the receipts, and the content each of them stands for."""

from collections import defaultdict
from dataclasses import dataclass, field

from agent.facts import Receipt


@dataclass(frozen=True, slots=True)
class Request:
    """A till's request. `number` is in its body and identifies its content everywhere."""

    number: int
    correlation_id: str
    body: bytes
    is_answer: bool
    address: str | None = None


@dataclass
class TillBook:
    """Requests sent, and receipts told.

    `told`: the receipts of each request, in the order told. `captured_us`: the true times at
    which a request became a new event (a repeat to an agent that has forgotten it is one, too).
    """

    requests: list[Request] = field(default_factory=list)
    told: dict[int, list[Receipt]] = field(default_factory=lambda: defaultdict(list))
    captured_us: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    told_twice: dict[Receipt, set[int]] = field(default_factory=lambda: defaultdict(set))
    owners: dict[Receipt, int] = field(default_factory=dict)

    def new_session(self, correlation_id: str | None = None, **members: str) -> Request:
        """Return a new session start; `members` are raw JSON by name."""
        number = len(self.requests) + 1
        name = correlation_id or f"s{number}"
        return self._add(Request(number, name, _body(number, members, correlationId=name), False))

    def new_answer(self, correlation_id: str, status: str, **members: str) -> Request:
        """Return a new answer, with an address of its own if it is accepted."""
        number = len(self.requests) + 1
        if status != "accepted":
            body = _body(number, members, status=status)
            return self._add(Request(number, correlation_id, body, True))
        address = f"guest{number}@example.com"
        body = _body(number, members, status=status, emailAddress=address)
        return self._add(Request(number, correlation_id, body, True, address))

    def tell(self, request: Request, receipt: Receipt) -> None:
        """Record a receipt that a till was told."""
        self.told[request.number].append(receipt)
        owner = self.owners.setdefault(receipt, request.number)
        if owner != request.number:
            self.told_twice[receipt] |= {owner, request.number}

    def sessions(self) -> list[Request]:
        """Return all session starts that were acknowledged."""
        return [one for one in self.requests if not one.is_answer and self.told.get(one.number)]

    def answers(self) -> list[Request]:
        """Return all answers that were acknowledged."""
        return [one for one in self.requests if one.is_answer and self.told.get(one.number)]

    def _add(self, request: Request) -> Request:
        self.requests.append(request)
        return request


def _body(number: int, members: dict[str, str], **texts: str) -> bytes:
    parts = [f'"{name}":"{text}"' for name, text in texts.items()]
    parts += [f'"{name.rstrip("_")}":{raw}' for name, raw in members.items()]
    parts.append(f'"n":{number}')
    return f"{{{','.join(parts)}}}".encode()
