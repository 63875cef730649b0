"""The contract that the edge and head office share: names and shapes on the wire."""

from enum import StrEnum


class EventType(StrEnum):
    """What an event reports, as it is written on the wire and in the outbox."""

    SESSION_STARTED = "session.started"
    EMAIL_ANSWERED = "email.answered"
