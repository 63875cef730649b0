"""Compares the agent's answers to tills with the records at head office."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.till.ledger import CaptureName, TillLedger, expected
from tests.support.till.requests import Kind


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record at head office; `receipt` if its sequence is known."""

    kind: Kind
    correlation_id: str
    content: object
    receipt: str | None

    @property
    def name(self) -> CaptureName:
        """Return its name in the tills' ledger."""
        return (self.kind, self.correlation_id)


@dataclass(slots=True)
class Verdict:
    """Result of a comparison. All lists must be empty."""

    acknowledged: int
    at_central: int
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Return whether all lists are empty."""
        return not (
            self.lost or self.duplicated or self.foreign or self.changed or self.out_of_order
        )


def judge(
    ledger: TillLedger, records: Sequence[StoredRecord], *, refused: frozenset[str] = frozenset()
) -> Verdict:
    """Compare; `records` are in head office's order, `refused` are ids that it must not have."""
    verdict = Verdict(len(ledger.acknowledged), len(records))
    times = Counter(record.name for record in records)
    verdict.duplicated = [f"{name}: {count} times" for name, count in times.items() if count > 1]
    verdict.lost = [
        f"{name}: {receipt}"
        for name, receipt in ledger.acknowledged.items()
        if name not in times and name[1] not in refused
    ]
    for record in records:
        _judge_one(ledger, record, verdict)
    verdict.out_of_order = _out_of_order(records)
    return verdict


def content_expected(ledger: TillLedger, name: CaptureName) -> object:
    """Return the content that head office must have: a session's body or an answer's address."""
    kept = expected(name[0], ledger.pair(name[1]), "")
    return kept.body if name[0] is Kind.SESSION else (kept.status, kept.address)


def _judge_one(ledger: TillLedger, record: StoredRecord, verdict: Verdict) -> None:
    if not ledger.knows(record.correlation_id):
        verdict.foreign.append(f"{record.name}")
        return
    if record.content != content_expected(ledger, record.name):
        verdict.changed.append(f"{record.name}: {record.content!r}")
    receipt = ledger.acknowledged.get(record.name)
    if receipt and record.receipt and receipt != record.receipt:
        verdict.changed.append(f"{record.name}: {receipt} here, {record.receipt} there")


def _out_of_order(records: Sequence[StoredRecord]) -> list[str]:
    started: set[str] = set()
    early = []
    for record in records:
        if record.kind is Kind.SESSION:
            started.add(record.correlation_id)
        elif record.correlation_id not in started:
            early.append(f"{record.name} before its session")
    return early
