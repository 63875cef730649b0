"""Records that the scripted head office accepted by either protocol, and its acceptance rules."""

import json
from dataclasses import dataclass, field

from sync.protocol.wire import ErrorCode, EventType


@dataclass(frozen=True, slots=True)
class Record:
    """An accepted capture. Only `batch` supplies epoch, sequence and time."""

    type: EventType
    correlation_id: str
    body: bytes
    query_locale: str | None = None
    epoch: str | None = None
    sequence: int | None = None
    occurred_at: str | None = None

    @property
    def document(self) -> dict[str, object]:
        """Return the parsed body."""
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason for refusing a record."""

    code: str
    message: str


@dataclass(slots=True)
class EpochLedger:
    """One epoch: accepted sequence, records, rejections, and gaps that the client cannot fill."""

    through: int = 0
    taken: dict[int, Record] = field(default_factory=dict)
    rejected: dict[int, Refusal] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def begin_at(self, base_sequence: int) -> None:
        """Record a gap for sequences below `base_sequence`, which the client no longer has."""
        if base_sequence > self.through + 1:
            self.gaps.append((self.through + 1, base_sequence - 1))
            self.through = base_sequence - 1


@dataclass(slots=True)
class Ledger:
    """Everything accepted. `records` is in order of arrival and holds each effect once."""

    records: list[Record] = field(default_factory=list)
    sessions: dict[str, Record] = field(default_factory=dict)
    answers: dict[str, list[Record]] = field(default_factory=dict)
    epochs: dict[str, EpochLedger] = field(default_factory=dict)
    repeats: int = 0

    def accept(self, record: Record) -> Refusal | None:
        """Accept `record` once, or return a refusal, by the rules that both protocols share."""
        if record.type is EventType.SESSION_STARTED:
            return self._accept_session(record)
        return self._accept_answer(record)

    def has(self, record: Record) -> bool:
        """Return whether `record` would be a repeat of the same content."""
        if record.type is EventType.SESSION_STARTED:
            recorded = self.sessions.get(record.correlation_id)
            return recorded is not None and _is_same(recorded, record)
        return any(
            _is_same(recorded, record) for recorded in self.answers.get(record.correlation_id, ())
        )

    def _accept_session(self, record: Record) -> Refusal | None:
        recorded = self.sessions.get(record.correlation_id)
        if recorded is None:
            self.sessions[record.correlation_id] = record
            self.records.append(record)
            return None
        if _is_same(recorded, record):
            self.repeats += 1
            return None
        return Refusal(ErrorCode.INVALID_REQUEST, "Invalid Correlation ID")

    def _accept_answer(self, record: Record) -> Refusal | None:
        if record.correlation_id not in self.sessions:
            if record.epoch is not None:
                return Refusal(ErrorCode.SESSION_REFUSED, "The session of this answer was rejected")
            return Refusal(
                ErrorCode.INVALID_REQUEST,
                "The document path provided in the update expression is invalid for update",
            )
        answers = self.answers.setdefault(record.correlation_id, [])
        if answers and _is_same(answers[-1], record):
            self.repeats += 1
            return None
        answers.append(record)
        self.records.append(record)
        return None


def _is_same(one: Record, other: Record) -> bool:
    return one.document == other.document and one.query_locale == other.query_locale
