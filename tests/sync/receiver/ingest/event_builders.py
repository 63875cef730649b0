"""Builders of parsed events for tests of the ledger's rules."""

import json
from datetime import UTC, datetime

from sync.protocol.wire import ErrorCode, EventType
from sync.receiver.ingest.accept import AcceptedBatch, SequenceGap
from sync.receiver.ingest.events import AnswerFact, InvalidEvent, SessionFact, unfit

AT = datetime(2026, 1, 1, tzinfo=UTC)
TILL, OTHER_TILL = ("till-1", "epoch-1"), ("till-2", "epoch-1")


def session(sequence: int, name: str, *, at: datetime = AT, channel: str = "store") -> SessionFact:
    """Return a session start."""
    return SessionFact(
        sequence=sequence,
        correlation_id=name,
        occurred_at=at,
        query_locale=None,
        body=json.dumps({"correlationId": name, "channel": channel}),
        channel=channel,
    )


def answer(
    sequence: int, name: str, address: str | None = "guest@example.com", *, note: str = ""
) -> AnswerFact:
    """Return an accepted answer; `address=None` means erased, `note` makes bodies differ."""
    return AnswerFact(
        sequence=sequence,
        correlation_id=name,
        occurred_at=AT,
        status="accepted",
        address=address,
        erased=address is None,
        body=json.dumps({"status": "accepted", "note": note}),
    )


def bad_session(sequence: int, name: str) -> InvalidEvent:
    """Return an invalid session start."""
    kind = EventType.SESSION_STARTED
    return unfit(sequence, kind, name, ErrorCode.INVALID_REQUEST, "The body cannot be read")


def unknown(sequence: int, name: str = "any") -> InvalidEvent:
    """Return an event of an unknown type."""
    return unfit(sequence, "points.spent", name, ErrorCode.UNKNOWN_TYPE, "not known here")


def codes(taken: AcceptedBatch | SequenceGap) -> dict[int, str]:
    """Return the error code of each rejected number."""
    assert isinstance(taken, AcceptedBatch)
    found = {rejection.sequence: rejection.error_code for rejection in taken.rejected}
    assert len(found) == len(taken.rejected), "a number is rejected twice"
    return found
