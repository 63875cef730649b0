"""The ledger's rules: decide on each event of a batch, given the stored state. Pure, no I/O.

    sequence numbers of a batch > place > (lookup in the ledger) > judge > rows to write

Invariant: every sequence number of an epoch up to `accepted_through` is accounted for exactly
once: as a stored event, a rejection, a duplicate of an event stored under another number, or
part of a gap. Ingest is idempotent: a resent number changes nothing, unless it was rejected,
lies in a gap, or supplies an address that was missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias, assert_never

import msgspec

from sync.protocol.wire import ErrorCode, EventType, Rejection
from sync.receiver.ingest.events import AnswerFact, Event, InvalidEvent, SessionFact
from sync.receiver.ingest.gaps import Gap, Gaps
from sync.receiver.privacy.redaction import same_body, same_text

NO_LONGER_HELD = "no longer held"
ADDRESS_ERASED = "address erased before it could be sent again"

Fact: TypeAlias = SessionFact | AnswerFact


class MalformedBatch(Exception):  # noqa: N818 - names the message
    """The batch as a whole is invalid; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """Events before this batch are missing: the agent must resend from `expected_sequence`."""

    expected_sequence: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Position of a batch in its epoch: a gap before it, and the range it repeats."""

    missing: Gap | None
    repeats: tuple[int, int] | None
    accepted_through: int


class Label(NamedTuple):
    """The stored part of a rejected or duplicate event."""

    type: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Known:
    """The ledger state that concerns one batch.

    By sequence number: `standing`, `rejected`, `duplicates`, `gaps`. By correlation id within the
    store: `sessions` and `answers`. `own_sessions` are ids of sessions stored for this till;
    `refused_here` and `refused_before` are ids of sessions rejected in this epoch and in other
    epochs of this till.
    """

    standing: Mapping[int, Fact] = field(default_factory=dict)
    rejected: Mapping[int, Label] = field(default_factory=dict)
    duplicates: Mapping[int, Label] = field(default_factory=dict)
    gaps: Sequence[Gap] = ()
    sessions: Mapping[str, SessionFact] = field(default_factory=dict)
    answers: Mapping[str, Sequence[AnswerFact]] = field(default_factory=dict)
    own_sessions: frozenset[str] = frozenset()
    refused_here: frozenset[str] = frozenset()
    refused_before: frozenset[str] = frozenset()


@dataclass(slots=True)
class AcceptedBatch:
    """The changes to write. `rejected` goes into the response; it covers `refused`, `altered`.

    Numbers up to `repeated_through` are resends. `readmitted` are numbers whose rejection is
    deleted, `restored` answers whose missing address arrived.
    """

    accepted_through: int
    repeated_through: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    sessions: list[SessionFact] = field(default_factory=list)
    answers: list[AnswerFact] = field(default_factory=list)
    refused: list[InvalidEvent] = field(default_factory=list)
    altered: list[int] = field(default_factory=list)
    readmitted: list[int] = field(default_factory=list)
    duplicates: list[Fact] = field(default_factory=list)
    restored: list[AnswerFact] = field(default_factory=list)
    gaps_gone: list[Gap] = field(default_factory=list)
    gaps_noted: list[Gap] = field(default_factory=list)


def place(
    sequences: Sequence[int], base_sequence: int, accepted_through: int
) -> Placed | SequenceGap:
    """Return the batch's position, or `SequenceGap` if it does not continue the epoch.

    Raises `MalformedBatch` if the numbers are not ascending.
    """
    if any(later <= earlier for earlier, later in pairwise(sequences)):
        raise MalformedBatch("the events must be in ascending order of their sequence")
    new = [number for number in sequences if number > accepted_through]
    repeats = None
    if len(new) < len(sequences):
        repeats = (sequences[0], sequences[-1 - len(new)])
    if not new:
        return Placed(None, repeats, accepted_through)
    missing = unheld(min(base_sequence, new[0]), accepted_through)
    expected = (accepted_through if missing is None else missing.last) + 1
    for number in new:
        if number != expected:
            return SequenceGap(expected)
        expected += 1
    return Placed(missing, repeats, new[-1])


def unheld(base_sequence: int, accepted_through: int) -> Gap | None:
    """Return the gap left by an agent that no longer stores events below `base_sequence`."""
    if base_sequence <= accepted_through + 1:
        return None
    return Gap(accepted_through + 1, base_sequence - 1, NO_LONGER_HELD)


def judge(
    events: Iterable[Event], placed: Placed, known: Known, purged_through: int = 0
) -> AcceptedBatch:
    """Decide on each event of a placed batch, in order.

    Numbers up to `purged_through` are past retention and ignored, except rejected ones: those
    were never stored.
    """
    judging = _Judging(placed, known)
    for event in events:
        if event.sequence > purged_through or event.sequence in known.rejected:
            judging.judge(event)
    return judging.end()


class _Judging:
    """Decision on one batch; events accepted earlier in it count as known for later ones."""

    def __init__(self, placed: Placed, known: Known) -> None:
        self._known = known
        repeated_through = placed.repeats[1] if placed.repeats is not None else 0
        self._taken = AcceptedBatch(placed.accepted_through, repeated_through)
        self._gaps = Gaps(known.gaps)
        if placed.missing is not None:
            self._gaps.note(placed.missing)
        self._sessions = dict(known.sessions)
        self._answers = {name: list(answers) for name, answers in known.answers.items()}
        self._own_sessions = set(known.own_sessions)
        self._refused_here = set(known.refused_here)

    def end(self) -> AcceptedBatch:
        self._taken.gaps_gone, self._taken.gaps_noted = self._gaps.gone, self._gaps.noted
        return self._taken

    def judge(self, event: Event) -> None:
        standing = self._known.standing.get(event.sequence)
        if standing is not None:
            self._compare(event, standing)
        elif (double := self._known.duplicates.get(event.sequence)) is not None:
            if isinstance(event, InvalidEvent) or not self._is_double(event, double):
                self._altered(event)
        else:
            self._take(event)

    def _compare(self, event: Event, standing: Fact) -> None:
        if not is_same(event, standing):
            self._altered(event)
        elif isinstance(event, AnswerFact) and not event.erased and self._lacks_address(standing):
            self._taken.restored.append(event)
            self._gaps.take(event.sequence)

    def _lacks_address(self, standing: Fact) -> bool:
        """Return whether the address is missing, but not because the customer was erased."""
        is_erased = isinstance(standing, AnswerFact) and standing.erased
        return is_erased and self._gaps.hold(standing.sequence)

    def _take(self, event: Event) -> None:
        """Take an event with a new number."""
        self._gaps.take(event.sequence)
        match event:
            case InvalidEvent():
                self._refuse(event)
            case SessionFact():
                self._take_session(event)
            case AnswerFact():
                self._take_answer(event)
            case _:
                assert_never(event)

    def _take_session(self, session: SessionFact) -> None:
        other = self._sessions.get(session.correlation_id)
        if other is None:
            self._taken.sessions.append(session)
            self._sessions[session.correlation_id] = session
        elif is_same(session, other):
            self._taken.duplicates.append(session)
        else:
            self._refuse(_refused(session, ErrorCode.INVALID_REQUEST, "Invalid Correlation ID"))
            return
        self._own_sessions.add(session.correlation_id)
        self._refused_here.discard(session.correlation_id)
        self._readmit(session.sequence)

    def _take_answer(self, answer: AnswerFact) -> None:
        if self._is_session_refused(answer.correlation_id):
            self._refuse(_refused(answer, ErrorCode.SESSION_REFUSED, "Its session was refused"))
            return
        if self._stands_elsewhere(answer):
            self._taken.duplicates.append(answer)
        else:
            self._taken.answers.append(answer)
            self._answers.setdefault(answer.correlation_id, []).append(answer)
            if answer.erased:
                self._gaps.note(Gap(answer.sequence, answer.sequence, ADDRESS_ERASED))
        self._readmit(answer.sequence)

    def _is_session_refused(self, correlation_id: str) -> bool:
        if correlation_id in self._refused_here:
            return True
        before = correlation_id in self._known.refused_before
        return before and correlation_id not in self._own_sessions

    def _is_double(self, fact: Fact, double: Label) -> bool:
        """Return whether `fact` is a resend of the known duplicate `double`.

        If the original is no longer stored under this correlation id (purged, or redacted
        because the id held an address), type and correlation id decide.
        """
        if self._stands_elsewhere(fact):
            return True
        others = self._sessions if isinstance(fact, SessionFact) else self._answers
        return (
            fact.correlation_id not in others
            and double.type == _type_of(fact)
            and same_text(fact.correlation_id, double.correlation_id)
        )

    def _stands_elsewhere(self, fact: Fact) -> bool:
        if isinstance(fact, SessionFact):
            other = self._sessions.get(fact.correlation_id)
            return other is not None and is_same(fact, other)
        answers = self._answers.get(fact.correlation_id)
        return answers is not None and any(is_same(fact, other) for other in answers)

    def _readmit(self, sequence: int) -> None:
        if sequence in self._known.rejected:
            self._taken.readmitted.append(sequence)

    def _refuse(self, unfit: InvalidEvent) -> None:
        if unfit.type == EventType.SESSION_STARTED:
            self._refused_here.add(unfit.correlation_id)
        self._readmit(unfit.sequence)
        self._taken.refused.append(self._named_as_before(unfit))
        self._reject(unfit.sequence, unfit.error_code, unfit.error_message)

    def _named_as_before(self, unfit: InvalidEvent) -> InvalidEvent:
        """Return `unfit` with the stored, redacted correlation id if it was rejected before."""
        before = self._known.rejected.get(unfit.sequence)
        if before is None or not same_text(unfit.correlation_id, before.correlation_id):
            return unfit
        return msgspec.structs.replace(unfit, correlation_id=before.correlation_id)

    def _altered(self, event: Event) -> None:
        self._taken.altered.append(event.sequence)
        message = "Another event is known under this number"
        self._reject(event.sequence, ErrorCode.ALTERED, message)

    def _reject(self, sequence: int, code: str, message: str) -> None:
        rejection = Rejection(sequence=sequence, error_code=code, error_message=message)
        self._taken.rejected.append(rejection)


def is_same(event: Event, other: Fact) -> bool:
    """Return whether two events have equal content. An erased address equals any address.

    Bodies are compared as JSON values; redacted parts of `other` equal anything.
    """
    match event, other:
        case SessionFact(), SessionFact():
            return (
                same_text(event.correlation_id, other.correlation_id)
                and event.occurred_at == other.occurred_at
                and same_text(event.query_locale, other.query_locale)
                and same_body(event.body, other.body)
            )
        case AnswerFact(), AnswerFact():
            return (
                same_text(event.correlation_id, other.correlation_id)
                and event.occurred_at == other.occurred_at
                and same_text(event.status, other.status)
                and (event.address == other.address or event.erased or other.erased)
                and same_body(event.body, other.body)
            )
        case _:
            return False


def _refused(fact: Fact, code: ErrorCode, message: str) -> InvalidEvent:
    return InvalidEvent(
        sequence=fact.sequence,
        type=_type_of(fact),
        correlation_id=fact.correlation_id,
        error_code=code.value,
        error_message=message,
    )


def _type_of(fact: Fact) -> EventType:
    return EventType.SESSION_STARTED if isinstance(fact, SessionFact) else EventType.EMAIL_ANSWERED
