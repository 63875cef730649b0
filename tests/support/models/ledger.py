"""In-memory reference ledger: applies the decisions of `judge` to dictionaries.

Assertions stand in for the unique keys of the database.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import msgspec

from sync.protocol.wire import EventType
from sync.receiver.ingest.accept import (
    AcceptedBatch,
    Fact,
    Known,
    Label,
    Placed,
    SequenceGap,
    judge,
    place,
)
from sync.receiver.ingest.events import AnswerFact, Event, InvalidEvent, SessionFact
from sync.receiver.ingest.gaps import Gap

Key: TypeAlias = tuple[str, str]
"""(till, epoch)"""
_Row = TypeVar("_Row", Fact, InvalidEvent)


@dataclass
class Epoch:
    """Stored state of one epoch."""

    accepted_through: int = 0
    standing: dict[int, Fact] = field(default_factory=dict)
    rejected: dict[int, InvalidEvent] = field(default_factory=dict)
    duplicates: dict[int, Fact] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def times_accounted(self, number: int) -> int:
        """Return how often a number is accounted for; an erased address's gap does not count."""
        found = sum(number in place for place in (self.standing, self.rejected, self.duplicates))
        gaps = [gap for gap in self.gaps if gap.first <= number <= gap.last]
        return found + len(gaps) - (number in self.standing and bool(gaps))


@dataclass
class PlainLedger:
    """The ledger of one store."""

    epochs: dict[Key, Epoch] = field(default_factory=dict)

    def take(self, key: Key, events: Sequence[Event], base: int = 1) -> AcceptedBatch | SequenceGap:
        """Apply a batch."""
        epoch = self.epochs.setdefault(key, Epoch())
        placed = place([e.sequence for e in events], base, epoch.accepted_through)
        if isinstance(placed, SequenceGap):
            return placed
        taken = judge(events, placed, self._known(key, events, placed))
        _write(epoch, taken)
        return taken

    def facts(self) -> list[tuple[Key, Fact]]:
        """Return all stored events."""
        return [(key, fact) for key, e in self.epochs.items() for fact in e.standing.values()]

    def forget(self, address: str) -> None:
        """Erase an address, as `forget` does."""
        for epoch in self.epochs.values():
            for number, fact in epoch.standing.items():
                if isinstance(fact, AnswerFact) and fact.address == address:
                    epoch.standing[number] = msgspec.structs.replace(
                        fact, address=None, erased=True
                    )

    def copy(self) -> "PlainLedger":
        """Return a copy, as a backup."""
        return PlainLedger(
            {
                key: replace(
                    epoch,
                    standing=dict(epoch.standing),
                    rejected=dict(epoch.rejected),
                    duplicates=dict(epoch.duplicates),
                    gaps=list(epoch.gaps),
                )
                for key, epoch in self.epochs.items()
            }
        )

    def _known(self, key: Key, events: Iterable[Event], placed: Placed) -> Known:
        first, last = placed.repeats or (1, 0)
        epoch = self.epochs[key]
        ids = {e.correlation_id for e in events}
        facts = [(at, fact) for at, fact in self.facts() if fact.correlation_id in ids]
        answers: dict[str, list[AnswerFact]] = {}
        for _, fact in facts:
            if isinstance(fact, AnswerFact):
                answers.setdefault(fact.correlation_id, []).append(fact)
        sessions = [(at, fact) for at, fact in facts if isinstance(fact, SessionFact)]
        return Known(
            standing={n: f for n, f in epoch.standing.items() if first <= n <= last},
            rejected={n: label(e) for n, e in epoch.rejected.items() if first <= n <= last},
            duplicates={n: label(e) for n, e in epoch.duplicates.items() if first <= n <= last},
            gaps=[gap for gap in epoch.gaps if gap.first <= last and gap.last >= first],
            sessions={fact.correlation_id: fact for _, fact in sessions},
            answers=answers,
            own_sessions=frozenset(f.correlation_id for (till, _), f in sessions if till == key[0]),
            refused_here=frozenset(_refused_sessions([epoch])),
            refused_before=frozenset(
                _refused_sessions(
                    e for other, e in self.epochs.items() if other != key and other[0] == key[0]
                )
            ),
        )


def label(event: Event) -> Label:
    """Return the stored part of a rejected or duplicate event."""
    if isinstance(event, InvalidEvent):
        return Label(event.type, event.correlation_id)
    is_session = isinstance(event, SessionFact)
    kind = EventType.SESSION_STARTED if is_session else EventType.EMAIL_ANSWERED
    return Label(kind.value, event.correlation_id)


def _refused_sessions(epochs: Iterable[Epoch]) -> Iterable[str]:
    return (
        unfit.correlation_id
        for epoch in epochs
        for unfit in epoch.rejected.values()
        if unfit.type == EventType.SESSION_STARTED
    )


def _write(epoch: Epoch, taken: AcceptedBatch) -> None:
    """Write the changes in the order of the real ledger."""
    for number in taken.readmitted:
        del epoch.rejected[number]
    for gap in taken.gaps_gone:
        epoch.gaps.remove(gap)
    for session in taken.sessions:
        _put(epoch.standing, session)
    for answer in taken.answers:
        _put(epoch.standing, answer)
    for unfit in taken.refused:
        _put(epoch.rejected, unfit)
    for fact in taken.duplicates:
        # A resent duplicate must not be inserted again: the real table has a unique key.
        _put(epoch.duplicates, fact)
    for gap in taken.gaps_noted:
        assert gap.first not in {other.first for other in epoch.gaps}
        epoch.gaps.append(gap)
    for answer in taken.restored:
        standing = epoch.standing[answer.sequence]
        assert isinstance(standing, AnswerFact)
        epoch.standing[answer.sequence] = msgspec.structs.replace(
            standing, address=answer.address, erased=False
        )
    epoch.accepted_through = taken.accepted_through


def _put(rows: dict[int, _Row], row: _Row) -> None:
    assert row.sequence not in rows
    rows[row.sequence] = row
