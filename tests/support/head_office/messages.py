"""Messages of a simulated agent, as head office receives them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from sync.receiver.auth.tokens import AgentName

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
EPOCH = "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b"
BOOT = "9f0d8f57-0d6e-4b0e-9d7b-0f9c7c1d1f10"
Members: TypeAlias = dict[str, object]


def wire_time(seconds: float = 0) -> str:
    """Return the time `seconds` after `AT` in wire format."""
    return (AT + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def session(sequence: int, correlation_id: str | None = None, **members: object) -> Members:
    """Return a session start event; `members` override its fields."""
    name = correlation_id or f"session-{sequence}"
    body = {"correlationId": name, "channel": "pos"}
    return _event(sequence, "session.started", name, body) | members


def answer(
    sequence: int,
    correlation_id: str,
    address: str | None = "guest@example.com",
    status: str = "accepted",
    **members: object,
) -> Members:
    """Return an e-mail answer event; `members` override its fields."""
    body = {"emailAddress": address, "status": status}
    return _event(sequence, "email.answered", correlation_id, body) | members


def erased(sequence: int, correlation_id: str) -> Members:
    """Return the same answer as sent after its address was erased."""
    body = {"emailAddress": None, "status": "accepted", "erased": True}
    return answer(sequence, correlation_id, body=body)


def sessions(first: int, last: int) -> list[Members]:
    """Return one session start for each sequence from `first` to `last`."""
    return [session(number) for number in range(first, last + 1)]


def _event(sequence: int, kind: str, name: str, body: Mapping[str, object]) -> Members:
    return {
        "sequence": sequence,
        "type": kind,
        "correlationId": name,
        "occurredAt": wire_time(sequence - 1000),
        "body": body,
    }


@dataclass(frozen=True, slots=True)
class SimulatedAgent:
    """One agent in one epoch of its database."""

    store_id: str = "0042"
    till_id: str = "till-1"
    epoch: str = EPOCH

    @property
    def name(self) -> AgentName:
        """Return its name at head office."""
        return AgentName(self.store_id, self.till_id)

    def batch(self, *events: Members, **members: object) -> bytes:
        """Return a batch; `members` override its fields."""
        batch = self._head() | {"baseSequence": 1, "events": list(events)}
        return json.dumps(batch | members).encode()

    def heartbeat(self, **members: object) -> bytes:
        """Return the heartbeat of a healthy machine; `members` override its fields."""
        heartbeat = self._head() | {
            "sentMonotonicUs": 5_000_000,
            "lastSequence": 0,
            "watermark": 0,
            "outstanding": 0,
            "deadLetters": 0,
            "oldestUndeliveredAt": None,
            "lastActivityAt": None,
            "databaseBytes": 4096,
            "freeBytes": 1_000_000,
        }
        return json.dumps(heartbeat | members).encode()

    def _head(self) -> Members:
        return {
            "storeId": self.store_id,
            "tillId": self.till_id,
            "epoch": self.epoch,
            "bootId": BOOT,
            "agentVersion": "0.1.0",
            "sentAt": wire_time(),
        }
