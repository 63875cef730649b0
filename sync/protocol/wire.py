"""The contract that the edge and head office share: names and shapes on the wire.

Whoever reads tolerates fields that it does not know: a newer agent talks to an older head
office and the other way round. JSON, names in camelCase, times in RFC 3339 UTC.
"""

from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec

BATCHES_PATH = "/sync/v1/batches"
HEARTBEATS_PATH = "/sync/v1/heartbeats"
PROGRAM_PATH = "/sync/v1/program"


class EventType(StrEnum):
    """What an event reports, as it is written on the wire and in the outbox."""

    SESSION_STARTED = "session.started"
    EMAIL_ANSWERED = "email.answered"


# Stands for an event that cannot be sent itself: head office rejects the type that it does not
# know, and has accounted for the number.
WITHHELD_TYPE = "event.withheld"


class ErrorCode(StrEnum):
    """Codes by which the two ends understand each other; others are passed on as they are."""

    SEQUENCE_GAP = "SEQUENCE_GAP"
    ALTERED = "ALTERED"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    INVALID_REQUEST = "INVALID_REQUEST"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    SESSION_REFUSED = "SESSION_REFUSED"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"


# Names a start of a machine; its times are looked up by it, so it has to be what it says.
BootId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}\Z")]


class BatchEvent(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """One event. `body` is the till's own JSON object, verbatim, with the e-mail address put back.

    Optional: `query_locale`, the locale that a session's query string gave; `boot_id` (where
    it is not the batch's) and `monotonic_us`, the machine's clock that never steps, so that
    head office can take a wrong wall clock out of `occurred_at`.
    """

    sequence: int
    type: str
    correlation_id: str
    occurred_at: str
    body: msgspec.Raw
    query_locale: str | None = None
    boot_id: BootId | None = None
    monotonic_us: int | None = None


class Batch(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """`POST /sync/v1/batches`: events of one epoch in ascending order.

    `base_sequence` is the lowest number that the agent still holds. Optional:
    `sent_monotonic_us`, the clock of `boot_id` at the moment of `sent_at`.
    """

    store_id: str
    till_id: str
    epoch: str
    boot_id: str
    agent_version: str
    sent_at: str
    base_sequence: int
    events: list[BatchEvent]
    sent_monotonic_us: int | None = None


class Rejection(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """An event that head office refuses for good; the others of its batch stand."""

    sequence: int
    error_code: str
    error_message: str


class BatchAccepted(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The 200: all up to `accepted_through`, without a gap, is committed at head office."""

    accepted_through: int
    rejected: list[Rejection]


class Problem(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """The three fields of every error; `expected_sequence` with `SEQUENCE_GAP` alone."""

    status_code: int
    error_message: str
    error_code: str
    expected_sequence: int | None = None


class EpochExtent(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """How far an epoch goes in the agent's database; all from `base_sequence` on is held there."""

    epoch: str
    last_sequence: int
    base_sequence: int = 1


class EpochSequence(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """An event, by its number in an epoch of the agent that is spoken of."""

    epoch: str
    sequence: int


class Heartbeat(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """`POST /sync/v1/heartbeats`: how an agent is, each minute, captures or not.

    `epoch`, `last_sequence`, `base_sequence` and `watermark` are of the epoch that new captures
    go to; `epochs` are the older ones that the database knows. What lies below a base may be
    held no more, so nothing of it will come; an agent of an older version says 1.
    `outstanding` counts the events that wait, of all epochs. `rejected_after` is the last one of
    those that the answer before named in `rejected`, so that this one goes on from there.
    """

    store_id: str
    till_id: str
    epoch: str
    boot_id: str
    agent_version: str
    sent_at: str
    sent_monotonic_us: int
    last_sequence: int
    watermark: int
    outstanding: int
    dead_letters: int
    oldest_undelivered_at: str | None
    last_activity_at: str | None
    database_bytes: int
    free_bytes: int
    epochs: list[EpochExtent] = []
    base_sequence: int = 1
    rejected_after: EpochSequence | None = None


class AcceptedThrough(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How far head office has an epoch without a gap; 0: nothing of it."""

    epoch: str
    accepted_through: int


class HeartbeatAnswer(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True
):
    """The 200 to a heartbeat: what head office has of the epochs that were named.

    An agent whose watermark is above knows that head office was restored from a backup; so does
    one that holds as delivered what is `rejected`: some of what stands rejected in these epochs,
    in an order of head office's own, from behind `rejected_after` on. Where none is named, the
    agent begins anew.
    """

    epochs: list[AcceptedThrough]
    rejected: list[EpochSequence] = []


class Rules(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The limits of redeeming points, as in a session's answer; a whole number stays one."""

    min_redeem_points: int | float
    min_redeem_amount: int | float
    max_redeem_points: int | float
    max_redeem_amount: int | float
    redeem_increment_points: int | float
    redeem_increment_amount: int | float


class Texts(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What the till shows and prints in one locale."""

    prompt: str
    anonymous_prompt: str
    receipt: str


class Program(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """`GET /sync/v1/program`, with an ETag: the terms that sessions are answered with.

    `messages` by locale: `en-CA`, `en-US`, `fr-CA`.
    """

    locale: str
    currency: str
    prompt: str
    rules: Rules
    messages: dict[str, Texts]
