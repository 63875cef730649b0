"""In-memory reference ledger: applies the decisions of `accept_events` to dictionaries.

Assertions stand in for the unique keys of the database.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import msgspec

from sync.protocol.wire import EventType
from sync.receiver.ingest.accept import accept_events
from sync.receiver.ingest.deduplication.digest import digest_of
from sync.receiver.ingest.events import AnswerEvent, Event, InvalidEvent, SessionEvent, ValidEvent
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.ledger_state import AcceptedBatch, EventKey, LedgerState
from sync.receiver.ingest.placement import Placement, SequenceGap, place_batch

Key: TypeAlias = tuple[str, str]
"""(till, epoch)"""
_Row = TypeVar("_Row", ValidEvent, InvalidEvent)


@dataclass
class Epoch:
    """Stored state of one epoch."""

    accepted_through: int = 0
    stored: dict[int, ValidEvent] = field(default_factory=dict)
    rejected: dict[int, InvalidEvent] = field(default_factory=dict)
    duplicates: dict[int, ValidEvent] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def times_accounted(self, number: int) -> int:
        """Return how often a number is accounted for; an erased address's gap does not count."""
        found = sum(number in rows for rows in (self.stored, self.rejected, self.duplicates))
        gaps = [gap for gap in self.gaps if gap.first <= number <= gap.last]
        return found + len(gaps) - (number in self.stored and bool(gaps))


@dataclass
class ReferenceLedger:
    """The ledger of one store."""

    epochs: dict[Key, Epoch] = field(default_factory=dict)

    def take(self, key: Key, events: Sequence[Event], base: int = 1) -> AcceptedBatch | SequenceGap:
        """Apply a batch."""
        epoch = self.epochs.setdefault(key, Epoch())
        # A heartbeat told of all numbers before.
        placed = place_batch([e.sequence for e in events], base, epoch.accepted_through, base)
        if isinstance(placed, SequenceGap):
            return placed
        taken = accept_events(events, placed, self._known(key, events, placed))
        _write(epoch, taken)
        return taken

    def facts(self) -> list[tuple[Key, ValidEvent]]:
        """Return all stored events."""
        return [(key, fact) for key, e in self.epochs.items() for fact in e.stored.values()]

    def forget(self, address: str) -> None:
        """Erase an address, as `forget` does."""
        for epoch in self.epochs.values():
            for number, fact in epoch.stored.items():
                if isinstance(fact, AnswerEvent) and fact.email_address == address:
                    epoch.stored[number] = msgspec.structs.replace(
                        fact, email_address=None, address_erased=True
                    )

    def copy(self) -> "ReferenceLedger":
        """Return a copy, as a backup."""
        return ReferenceLedger(
            {
                key: replace(
                    epoch,
                    stored=dict(epoch.stored),
                    rejected=dict(epoch.rejected),
                    duplicates=dict(epoch.duplicates),
                    gaps=list(epoch.gaps),
                )
                for key, epoch in self.epochs.items()
            }
        )

    def _known(self, key: Key, events: Iterable[Event], placed: Placement) -> LedgerState:
        first, last = placed.resent or (1, 0)
        epoch = self.epochs[key]
        ids = {e.correlation_id for e in events}
        facts = [(at, fact) for at, fact in self.facts() if fact.correlation_id in ids]
        answers: dict[str, list[AnswerEvent]] = {}
        for _, fact in facts:
            if isinstance(fact, AnswerEvent):
                answers.setdefault(fact.correlation_id, []).append(fact)
        till = key[0]
        sessions: dict[str, list[SessionEvent]] = {}
        for _, fact in facts:
            if isinstance(fact, SessionEvent):
                sessions.setdefault(fact.correlation_id, []).append(fact)
        duplicates = [
            e for (of, _), one in self.epochs.items() if of == till for e in one.duplicates.values()
        ]
        return LedgerState(
            stored={n: f for n, f in epoch.stored.items() if first <= n <= last},
            rejected={n: label(e) for n, e in epoch.rejected.items() if first <= n <= last},
            duplicates={n: label(e) for n, e in epoch.duplicates.items() if first <= n <= last},
            gaps=[gap for gap in epoch.gaps if gap.first <= last and gap.last >= first],
            sessions=sessions,
            answers=answers,
            stored_here={
                fact.correlation_id: fact
                for (of, _), fact in facts
                if of == till and isinstance(fact, SessionEvent)
            },
            duplicated_here=_ids_of_sessions(duplicates),
            rejected_here=refused_sessions(epoch),
            rejected_elsewhere=frozenset[str]().union(
                *(
                    refused_sessions(e)
                    for other, e in self.epochs.items()
                    if other != key and other[0] == key[0]
                )
            ),
        )


def label(event: Event) -> EventKey:
    """Return the stored part of a rejected or duplicate event."""
    if isinstance(event, InvalidEvent):
        return EventKey(event.type, event.correlation_id)
    is_session = isinstance(event, SessionEvent)
    kind = EventType.SESSION_STARTED if is_session else EventType.EMAIL_ANSWERED
    return EventKey(kind.value, event.correlation_id, digest_of(event))


def _ids_of_sessions(facts: Iterable[ValidEvent]) -> frozenset[str]:
    return frozenset(one.correlation_id for one in facts if isinstance(one, SessionEvent))


def refused_sessions(epoch: Epoch) -> frozenset[str]:
    """Return the ids of which the last session in this epoch was rejected."""
    last: dict[str, tuple[int, bool]] = {}
    for rows, is_refused in (
        (epoch.rejected, True),
        (epoch.stored, False),
        (epoch.duplicates, False),
    ):
        for number, event in rows.items():
            if label(event).type == EventType.SESSION_STARTED:
                found = (number, is_refused)
                last[event.correlation_id] = max(last.get(event.correlation_id, found), found)
    return frozenset(name for name, (_, is_refused) in last.items() if is_refused)


def _write(epoch: Epoch, taken: AcceptedBatch) -> None:
    """Write the changes in the order of the real ledger."""
    for number in taken.readmitted:
        del epoch.rejected[number]
    for gap in taken.gaps_deleted:
        epoch.gaps.remove(gap)
    for session in taken.sessions:
        _put(epoch.stored, session)
    for answer in taken.answers:
        _put(epoch.stored, answer)
    for event in taken.rejected:
        _put(epoch.rejected, event)
    for fact in taken.duplicates:
        # A resent duplicate must not be inserted again: the real table has a unique key.
        _put(epoch.duplicates, fact)
    for gap in taken.gaps_added:
        assert gap.first not in {other.first for other in epoch.gaps}
        epoch.gaps.append(gap)
    for answer in taken.restored:
        stored = epoch.stored[answer.sequence]
        assert isinstance(stored, AnswerEvent)
        epoch.stored[answer.sequence] = msgspec.structs.replace(
            stored, email_address=answer.email_address, address_erased=False
        )
    epoch.accepted_through = taken.accepted_through


def _put(rows: dict[int, _Row], row: _Row) -> None:
    assert row.sequence not in rows
    rows[row.sequence] = row
