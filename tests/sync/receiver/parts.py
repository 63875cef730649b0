"""Events and batches for tests of the receiver's rules."""

import json
from datetime import UTC, datetime

from sync.protocol.wire import ErrorCode, EventType
from sync.receiver.ingest.accept import SequenceGap, Taken
from sync.receiver.ingest.events import AnswerFact, SessionFact, Unfit, unfit

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
    """Return an answer with its address, or with one that was erased; `note` tells two apart."""
    return AnswerFact(
        sequence=sequence,
        correlation_id=name,
        occurred_at=AT,
        status="accepted",
        address=address,
        erased=address is None,
        body=json.dumps({"status": "accepted", "note": note}),
    )


def bad_session(sequence: int, name: str) -> Unfit:
    """Return a session start that cannot be taken."""
    kind = EventType.SESSION_STARTED
    return unfit(sequence, kind, name, ErrorCode.INVALID_REQUEST, "The body cannot be read")


def unknown(sequence: int, name: str = "any") -> Unfit:
    """Return an event of a type that head office does not know."""
    return unfit(sequence, "points.spent", name, ErrorCode.UNKNOWN_TYPE, "not known here")


def codes(taken: Taken | SequenceGap) -> dict[int, str]:
    """Return what was refused, and with which code."""
    assert isinstance(taken, Taken)
    found = {rejection.sequence: rejection.error_code for rejection in taken.rejected}
    assert len(found) == len(taken.rejected), "a number is rejected twice"
    return found
