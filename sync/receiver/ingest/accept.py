"""The ledger's rules: decide on each event of a batch, given the stored state. Pure, no I/O.

    parse > place > look up > accept > write, one commit

Invariant: every sequence number of an epoch up to `accepted_through` is accounted for exactly
once: as a stored event, a rejection, a duplicate of an event stored under another number, or
part of a gap; or it was purged. Ingest is idempotent: a resent number changes nothing, unless it
was rejected, lies in a gap, or supplies an address that was missing. An event is accepted only if
it is then stored, or recognised by its content: a number proves nothing.
"""

from collections.abc import Iterable
from typing import assert_never

import msgspec

from sync.protocol.wire import ErrorCode, EventType, Rejection
from sync.receiver.ingest.deduplication.alike import MAX_ALIKE, AlikeAnswers
from sync.receiver.ingest.deduplication.digest import digest_of
from sync.receiver.ingest.deduplication.equality import is_same_event
from sync.receiver.ingest.deduplication.sessions import KnownSessions
from sync.receiver.ingest.events import (
    AnswerEvent,
    Event,
    InvalidEvent,
    SessionEvent,
    ValidEvent,
    type_of,
)
from sync.receiver.ingest.gaps import Gap, Gaps
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED, AcceptedBatch, EventKey, LedgerState
from sync.receiver.ingest.placement import Placement
from sync.receiver.privacy.redaction import same_text


def accept_events(
    events: Iterable[Event],
    placement: Placement,
    state: LedgerState,
    *,
    shares_sessions: bool = False,
) -> AcceptedBatch:
    """Decide on each event of a placed batch, in order.

    `shares_sessions`: tills of the store answer for each other's sessions.
    """
    decision = _BatchDecision(placement, state, shares_sessions=shares_sessions)
    for event in events:
        decision.add(event)
    return decision.result()


class _BatchDecision:
    """Decision on one batch; events accepted earlier in it count as stored for later ones."""

    def __init__(self, placement: Placement, state: LedgerState, *, shares_sessions: bool) -> None:
        self._state = state
        self._shares_sessions = shares_sessions
        resent_through = placement.resent[1] if placement.resent is not None else 0
        self._result = AcceptedBatch(placement.accepted_through, resent_through)
        self._gaps = Gaps(state.gaps)
        if placement.gap is not None:
            self._gaps.add(placement.gap)
        self._sessions = KnownSessions(state.sessions, state.stored_here, state.duplicated_here)
        self._answers = {name: AlikeAnswers(answers) for name, answers in state.answers.items()}
        self._rejected_here = set(state.rejected_here)

    def result(self) -> AcceptedBatch:
        self._result.gaps_deleted, self._result.gaps_added = self._gaps.deleted, self._gaps.added
        return self._result

    def add(self, event: Event) -> None:
        stored = self._state.stored.get(event.sequence)
        if stored is not None:
            self._compare(event, stored)
        elif (duplicate := self._state.duplicates.get(event.sequence)) is not None:
            if isinstance(event, InvalidEvent) or not self._is_resent(event, duplicate):
                self._reject_altered(event)
        elif not self._was_purged(event.sequence):
            self._accept(event)
        elif not self._state.purged.recognises(event):
            self._reject_altered(event)

    def _was_purged(self, number: int) -> bool:
        """Return whether an event was stored under this number and is past retention.

        A rejected one was never stored, nor was one in a gap that retention walked over.
        """
        purged = self._state.purged
        if number > purged.through or number in self._state.rejected:
            return False
        reason = self._gaps.reason_of(number)
        return purged.has_digest(number) or reason in {None, ADDRESS_ERASED}

    def _compare(self, event: Event, stored: ValidEvent) -> None:
        if not is_same_event(event, stored):
            self._reject_altered(event)
            return
        # An answer of an erased customer has no address either, but no gap: it stays erased.
        lacks_address = isinstance(stored, AnswerEvent) and stored.address_erased
        is_missing = lacks_address and event.sequence in self._gaps
        if is_missing and isinstance(event, AnswerEvent) and not event.address_erased:
            self._result.restored.append(event)
            self._gaps.remove(event.sequence)

    def _accept(self, event: Event) -> None:
        """Accept or reject an event with a new number."""
        self._gaps.remove(event.sequence)
        match event:
            case InvalidEvent():
                self._reject(event)
            case SessionEvent():
                self._accept_session(event)
            case AnswerEvent():
                self._accept_answer(event)
            case _:
                assert_never(event)

    def _accept_session(self, session: SessionEvent) -> None:
        name = session.correlation_id
        if self._sessions.has_same(session):
            self._result.duplicates.append(session)
            self._sessions.own(name)
        elif self._sessions.is_stored_here(name):
            self._reject(_rejected(session, ErrorCode.INVALID_REQUEST, "Invalid Correlation ID"))
            return
        else:
            # Another till may have the same id for a session of its own: both are kept.
            self._result.sessions.append(session)
            self._sessions.add(session)
        self._rejected_here.discard(name)
        self._readmit(session.sequence)

    def _accept_answer(self, answer: AnswerEvent) -> None:
        if self._is_session_rejected(answer.correlation_id):
            message = "The session of this answer was rejected"
            self._reject(_rejected(answer, ErrorCode.SESSION_REFUSED, message))
            return
        if self._is_session_foreign(answer.correlation_id):
            message = "The session of this answer is another till's"
            self._reject(_rejected(answer, ErrorCode.FOREIGN_SESSION, message))
            return
        others = self._answers.get(answer.correlation_id)
        if others is None:
            # Without a digest: most sessions have one answer.
            self._answers[answer.correlation_id] = AlikeAnswers([answer])
        elif others.has_equal(answer := self._digested(answer)):
            self._result.duplicates.append(answer)
            self._readmit(answer.sequence)
            return
        elif others.is_full_for(answer):
            message = f"More than {MAX_ALIKE} answers differ by addresses in their bodies only"
            self._reject(_rejected(answer, ErrorCode.INVALID_REQUEST, message))
            return
        else:
            others.add(answer)
        self._result.answers.append(answer)
        if answer.address_erased:
            self._gaps.add(Gap(answer.sequence, answer.sequence, ADDRESS_ERASED))
        self._readmit(answer.sequence)

    def _is_session_rejected(self, correlation_id: str) -> bool:
        if correlation_id in self._rejected_here:
            return True
        elsewhere = correlation_id in self._state.rejected_elsewhere
        return elsewhere and not self._sessions.is_owned(correlation_id)

    def _is_session_foreign(self, correlation_id: str) -> bool:
        """Return whether only other tills have this session, and this one may not answer for them.

        An unknown session may be purged, or arrive later.
        """
        sessions = self._sessions
        is_foreign = correlation_id in sessions and not sessions.is_owned(correlation_id)
        return is_foreign and not self._shares_sessions

    def _is_resent(self, event: ValidEvent, duplicate: EventKey) -> bool:
        """Return whether `event` is a resend of the stored duplicate.

        If the original is no longer stored, the digest decides. Of a duplicate without one, type
        and correlation id do, unless originals are stored under this id.
        """
        if self._is_stored(event):
            return True
        if duplicate.digest is not None:
            has_id = same_text(event.correlation_id, duplicate.correlation_id)
            return has_id and duplicate.digest == digest_of(event)
        originals = self._sessions if isinstance(event, SessionEvent) else self._answers
        return (
            event.correlation_id not in originals
            and duplicate.type == type_of(event)
            and same_text(event.correlation_id, duplicate.correlation_id)
        )

    def _is_stored(self, event: ValidEvent) -> bool:
        """Return whether an equal event is stored under any number."""
        if isinstance(event, SessionEvent):
            return self._sessions.has_same(event)
        answers = self._answers.get(event.correlation_id)
        return answers is not None and answers.has_equal(self._digested(event))

    def _digested(self, answer: AnswerEvent) -> AnswerEvent:
        digest = self._state.digests.get(answer.sequence) or digest_of(answer)
        return msgspec.structs.replace(answer, digest=digest)

    def _readmit(self, sequence: int) -> None:
        if sequence in self._state.rejected:
            self._result.readmitted.append(sequence)

    def _reject(self, event: InvalidEvent) -> None:
        key = EventKey(event.type, event.correlation_id)
        # Of one that was rejected before, the state tells whether a later one was accepted since.
        if (
            key.type == EventType.SESSION_STARTED
            and self._state.rejected.get(event.sequence) != key
        ):
            self._rejected_here.add(event.correlation_id)
        self._readmit(event.sequence)
        self._result.rejected.append(self._redacted_as_before(event))
        self._add_rejection(event.sequence, event.error_code, event.error_message)

    def _redacted_as_before(self, event: InvalidEvent) -> InvalidEvent:
        """Return the event with the stored, redacted correlation id if it was rejected before."""
        before = self._state.rejected.get(event.sequence)
        if before is None or not same_text(event.correlation_id, before.correlation_id):
            return event
        return msgspec.structs.replace(event, correlation_id=before.correlation_id)

    def _reject_altered(self, event: Event) -> None:
        self._result.altered.append(event.sequence)
        message = "Another event has this number"
        self._add_rejection(event.sequence, ErrorCode.ALTERED, message)

    def _add_rejection(self, sequence: int, code: str, message: str) -> None:
        rejection = Rejection(sequence=sequence, error_code=code, error_message=message)
        self._result.rejections.append(rejection)


def _rejected(event: ValidEvent, code: ErrorCode, message: str) -> InvalidEvent:
    return InvalidEvent(
        sequence=event.sequence,
        type=type_of(event),
        correlation_id=event.correlation_id,
        error_code=code.value,
        error_message=message,
    )
