"""Builders of parsed events for tests of the ledger's rules."""

import json
from datetime import UTC, datetime

from sync.protocol.wire import ErrorCode, EventType
from sync.receiver.ingest.events import AnswerEvent, InvalidEvent, SessionEvent, invalid_event
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.placement import SequenceGap

AT = datetime(2026, 1, 1, tzinfo=UTC)
TILL, OTHER_TILL = ("till-1", "epoch-1"), ("till-2", "epoch-1")


def session(sequence: int, name: str, *, at: datetime = AT, channel: str = "store") -> SessionEvent:
    """Return a session start."""
    return SessionEvent(
        sequence=sequence,
        correlation_id=name,
        occurred_at=at,
        query_locale=None,
        body=json.dumps({"correlationId": name, "channel": channel}),
        channel=channel,
    )


def answer(
    sequence: int, name: str, address: str | None = "guest@example.com", *, note: str = ""
) -> AnswerEvent:
    """Return an accepted answer; `address=None` means erased, `note` makes bodies differ."""
    return AnswerEvent(
        sequence=sequence,
        correlation_id=name,
        occurred_at=AT,
        status="accepted",
        email_address=address,
        address_erased=address is None,
        body=json.dumps({"status": "accepted", "note": note}),
    )


def bad_session(sequence: int, name: str) -> InvalidEvent:
    """Return an invalid session start."""
    kind = EventType.SESSION_STARTED
    return invalid_event(sequence, kind, name, ErrorCode.INVALID_REQUEST, "The body is not JSON")


def unknown(sequence: int, name: str = "any") -> InvalidEvent:
    """Return an event of an unknown type."""
    return invalid_event(
        sequence, "points.spent", name, ErrorCode.UNKNOWN_TYPE, "Unknown event type"
    )


def codes(taken: AcceptedBatch | SequenceGap) -> dict[int, str]:
    """Return the error code of each rejected number."""
    assert isinstance(taken, AcceptedBatch)
    found = {rejection.sequence: rejection.error_code for rejection in taken.rejections}
    assert len(found) == len(taken.rejections), "a number is rejected twice"
    return found
