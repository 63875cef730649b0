"""Equality of events by content. Pure, no I/O."""

from sync.receiver.ingest.events import AnswerEvent, Event, SessionEvent, ValidEvent
from sync.receiver.privacy.redaction import same_body, same_text


def is_same_event(event: Event, other: ValidEvent) -> bool:
    """Return whether two events have equal content. An erased address equals any address.

    Bodies are compared as JSON values; redacted parts of `other` equal anything.
    """
    if isinstance(event, SessionEvent) and isinstance(other, SessionEvent):
        is_same = same_text(event.query_locale, other.query_locale)
    elif isinstance(event, AnswerEvent) and isinstance(other, AnswerEvent):
        is_erased = event.address_erased or other.address_erased
        is_same_address = is_erased or event.email_address == other.email_address
        is_same = is_same_address and same_text(event.status, other.status)
    else:
        return False
    return (
        is_same
        and event.occurred_at == other.occurred_at
        and same_text(event.correlation_id, other.correlation_id)
        and same_body(event.body, other.body)
    )
