"""Records the agent's answers to tills and compares them with its database.

Uses its own SQL, so that a fault in the agent's queries cannot hide itself.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agent.store.crypto.vault import DecryptionError, open_vault
from tests.support.till.crowd import CaptureAnswer, Crowd
from tests.support.till.requests import Kind, Pair, Requests, fresh_pair

_TYPES = {"session.started": Kind.SESSION, "email.answered": Kind.EMAIL}
_ALL = """
SELECT event.position, event.type, session.correlation_id, event.body, email_answer.status,
       email_answer.address
FROM event
LEFT JOIN session ON session.position = event.session_position
LEFT JOIN email_answer ON email_answer.position = event.position
ORDER BY event.position
"""
_EPOCHS = "SELECT base_position, epoch FROM epoch ORDER BY number DESC"
CaptureName = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event in the database, its address decrypted."""

    receipt: str
    body: bytes
    status: str | None
    address: str | None


@dataclass(slots=True)
class Findings:
    """Differences between answers and database; all lists are empty if there are none."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Return whether there are any findings."""
        return bool(self.lost or self.duplicated or self.changed or self.gaps)


class TillLedger:
    """Records every customer of the tills and every acknowledged capture."""

    def __init__(self) -> None:
        self.acknowledged: dict[CaptureName, str] = {}
        self.refused: list[CaptureAnswer] = []
        self.contradictions: list[str] = []
        self.any_acknowledged = asyncio.Event()
        self.any_refused = asyncio.Event()
        self._pairs: dict[str, Pair] = {}
        self._again: list[Pair] = []

    def ask_again(self, pairs: list[Pair]) -> None:
        """Let the next tills begin with `pairs`, whose answers were lost."""
        self._again += pairs

    def customers(self, count: int | None = None) -> Iterator[Pair]:
        """Yield the pairs to ask again, then `count` new ones, or new ones endlessly."""
        while self._again:
            yield self._again.pop()
        made = 0
        while count is None or made < count:
            made += 1
            pair = fresh_pair()
            self._pairs[pair.correlation_id] = pair
            yield pair

    async def open_tills(self, port: int, tills: int, customers: int | None = None) -> Crowd:
        """Open tills that serve our customers and report every answer to this ledger."""
        crowd = Crowd(
            "127.0.0.1",
            port,
            pairs=self.customers(customers),
            on_acknowledged=self.acknowledge,
            on_refused=self.refuse,
        )
        await crowd.open(tills)
        return crowd

    def knows(self, correlation_id: str) -> bool:
        """Return whether a customer has this id."""
        return correlation_id in self._pairs

    def pair(self, correlation_id: str) -> Pair:
        """Return the customer with this id."""
        return self._pairs[correlation_id]

    def acknowledge(self, answer: CaptureAnswer) -> None:
        """Record a 200; a repeat must return the receipt of the first answer."""
        name = (answer.kind, answer.correlation_id)
        first = self.acknowledged.setdefault(name, str(answer.receipt))
        if first != answer.receipt:
            self.contradictions.append(f"{name}: first {first}, then {answer.receipt}")
        self.any_acknowledged.set()

    def refuse(self, answer: CaptureAnswer) -> None:
        """Record an answer other than 200."""
        self.refused.append(answer)
        self.any_refused.set()

    def compare(self, directory: Path) -> Findings:
        """Compare every acknowledged capture with the database in `directory`."""
        findings = Findings(changed=list(self.contradictions))
        kept = read_events(directory, findings)
        for name, receipt in self.acknowledged.items():
            self._compare_one(name, receipt, kept, findings)
        findings.changed += [
            f"{name}: no till asked it" for name in kept if name[1] not in self._pairs
        ]
        return findings

    def unanswered(self, directory: Path) -> list[CaptureName]:
        """Return captures that are recorded but were not acknowledged to a till."""
        return [
            name for name in read_events(directory, Findings()) if name not in self.acknowledged
        ]

    def _compare_one(
        self,
        name: CaptureName,
        receipt: str,
        kept: dict[CaptureName, StoredEvent],
        findings: Findings,
    ) -> None:
        found = kept.get(name)
        if found is None:
            findings.lost.append(f"{name}: {receipt}")
        elif found != expected(name[0], self._pairs[name[1]], receipt):
            findings.changed.append(f"{name}: {receipt}, but {found}")


def expected(kind: Kind, pair: Pair, receipt: str) -> StoredEvent:
    """Return the expected row of a till's request (`tests/support/till/requests.py`)."""
    if kind is Kind.SESSION:
        body = Requests("127.0.0.1", 0).session(pair).partition(b"\r\n\r\n")[2]
        return StoredEvent(receipt, body, None, None)
    return StoredEvent(receipt, b'{"status":"accepted"}', "accepted", pair.email_address)


def read_events(directory: Path, findings: Findings) -> dict[CaptureName, StoredEvent]:
    """Read every event; add duplicates and gaps to `findings`."""
    vault = open_vault(directory / "encryption.key")
    with closing(sqlite3.connect(f"file:{directory / 'agent.db'}?mode=ro", uri=True)) as database:
        epochs = database.execute(_EPOCHS).fetchall()
        rows = database.execute(_ALL).fetchall()
    findings.gaps += gaps([row[0] for row in rows])
    names: Counter[CaptureName] = Counter()
    kept = {}
    for position, event_type, correlation_id, body, status, sealed in rows:
        name = (_TYPES[event_type], correlation_id)
        names[name] += 1
        try:
            address = None if sealed is None else vault.decrypt(sealed, correlation_id)
        except DecryptionError as error:
            address = str(error)
        kept[name] = StoredEvent(receipt_of(position, epochs), body, status, address)
    findings.duplicated += [f"{name}: {count} times" for name, count in names.items() if count > 1]
    return kept


def receipt_of(position: int, epochs: list[tuple[int, str]]) -> str:
    """Return epoch/sequence of a position; `epochs` are sorted newest first."""
    base, epoch = next(entry for entry in epochs if entry[0] < position)
    return f"{epoch}/{position - base}"


def gaps(positions: list[int]) -> list[str]:
    """Return up to three differences from the positions 1 to n."""
    expected_positions = range(1, len(positions) + 1)
    return [
        f"position {have} where {want} belongs"
        for have, want in zip(positions, expected_positions, strict=True)
        if have != want
    ][:3]
