"""Wire contract between agent and head office: JSON, camelCase names, RFC 3339 UTC times.

Unknown fields are ignored, so that a newer agent works with an older head office and vice
versa.
"""

from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec

BATCHES_PATH = "/sync/v1/batches"
HEARTBEATS_PATH = "/sync/v1/heartbeats"
PROGRAM_PATH = "/sync/v1/program"


class EventType(StrEnum):
    """Event type on the wire and in the outbox."""

    SESSION_STARTED = "session.started"
    EMAIL_ANSWERED = "email.answered"


# The longest valid address has 254. `loyalty-hq forget` finds no longer ones.
MAX_ADDRESS_CODE_POINTS = 320

# Placeholder for an event that cannot be sent: head office rejects the unknown type, but its
# sequence number is accounted for and leaves no gap.
WITHHELD_TYPE = "event.withheld"
# The same for an event that the agent's disk has damaged: its content is lost or not to be trusted.
DAMAGED_TYPE = "event.damaged"


class ErrorCode(StrEnum):
    """The `errorCode` of both HTTP APIs and of rejections.

    The first group has a meaning to the agent's delivery or to `join`; all others only describe the
    error.
    """

    SEQUENCE_GAP = "SEQUENCE_GAP"
    ALTERED = "ALTERED"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    INVALID_REQUEST = "INVALID_REQUEST"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    SESSION_REFUSED = "SESSION_REFUSED"
    FOREIGN_SESSION = "FOREIGN_SESSION"
    DAMAGED = "DAMAGED"
    KEY_LOST = "KEY_LOST"
    UNSTORABLE = "UNSTORABLE"
    REFUSED_BY_GATEWAY = "REFUSED_BY_GATEWAY"
    NO_VERDICT = "NO_VERDICT"
    SESSION_WAITS = "SESSION_WAITS"
    TOO_MANY_EPOCHS = "TOO_MANY_EPOCHS"
    JOIN_CODE_UNKNOWN = "JOIN_CODE_UNKNOWN"
    JOIN_CODE_USED = "JOIN_CODE_USED"
    JOIN_CODE_EXPIRED = "JOIN_CODE_EXPIRED"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"

    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    STORAGE_FULL = "STORAGE_FULL"
    NOT_CONFIGURED = "NOT_CONFIGURED"


# Boot ID of the machine: the key for its monotonic times, hence validated.
BootId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}\Z")]
# A running process of the agent.
RunId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}\Z")]


class BatchEvent(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """One event. `body` is the till's JSON object, verbatim, with the e-mail address restored.

    Optional: `query_locale`, the locale in the query string of a session start; `boot_id` (if
    it differs from the batch's) and `monotonic_us`, the machine's monotonic clock, by which
    head office corrects `occurred_at` if the wall clock was wrong.
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

    `base_sequence` is the lowest sequence number that the agent still stores. Optional:
    `sent_monotonic_us`, the monotonic clock of boot `boot_id` at `sent_at`; `round_trip_us`, the
    time by that clock from sending the last message that was answered to its answer, by which head
    office knows how late its own measurements of the clock can be; `ends_epoch`, true if the
    epoch has ended at this agent and its last event is in this batch, so that nothing of
    it follows.
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
    round_trip_us: int | None = None
    ends_epoch: bool = False


class Rejection(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """An event that head office rejects permanently; the rest of its batch is accepted."""

    sequence: int
    error_code: str
    error_message: str


class BatchAccepted(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The 200: head office has committed all events up to `accepted_through`, without a gap."""

    accepted_through: int
    rejected: list[Rejection]


class ErrorBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """The three fields of every error; `expected_sequence` only with `SEQUENCE_GAP`."""

    status_code: int
    error_message: str
    error_code: str
    expected_sequence: int | None = None


# The most ranges of returned numbers in one heartbeat, over all of its epochs.
MAX_RETURNED_RANGES = 1_000

# Reasons that an epoch ended which say that there are two copies of its numbers.
RENUMBERED = "head office has other events under these numbers"
AHEAD = "an older copy: head office has numbers that this database does not know"


class EpochExtent(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """The range of an epoch in the agent's database: all from `base_sequence` on is stored.

    With `ended_reason` the machine says that the epoch has ended and why: `last_sequence` is
    where it ended. `moved_through`: the events above it up to this number have new numbers in a
    later epoch. `lost_through`: the numbers above both up to this one were acknowledged to tills,
    but the machine does not hold them any more. An epoch that the agent knows, but does not have
    in its database, has last sequence 0 and base sequence 1. `end_unknown`: the machine cannot say
    (yet) where the epoch ended; older agent versions name an epoch without any of these fields.

    `returned`: ranges, both ends inclusive, of numbers whose captures have new numbers: all of
    those above `returned_after`, up to `returned_through`. If there are more, other heartbeats
    name them. Without `returned_through` the agent names none, and `moved_through` counts instead.
    """

    epoch: str
    last_sequence: int
    base_sequence: int = 1
    ended_reason: str = ""
    moved_through: int = 0
    lost_through: int = 0
    end_unknown: bool = False
    returned: list[tuple[int, int]] = []
    returned_after: int = 0
    returned_through: int = 0


class EpochSequence(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Identifies an event of the agent by epoch and sequence number."""

    epoch: str
    sequence: int


class SalvageCounts(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Progress of reading the database files that the agent has set aside.

    `pending` files are not yet read to the end; `salvaged` events were fed in from such files;
    `unreadable` rows are known to be lost.
    """

    pending: int = 0
    salvaged: int = 0
    unreadable: int = 0


class Heartbeat(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """`POST /sync/v1/heartbeats`: status of an agent, each minute, with or without captures.

    `epoch`, `last_sequence`, `base_sequence` and `watermark` describe the epoch of new
    captures; `epochs` lists the older epochs in the database. Events below a base may have been
    purged and will not be sent; older agent versions send 1. `outstanding` counts undelivered
    events of all epochs. `run_id` names the running process of the agent, which a restart ends;
    `round_trip_us` is that of a batch.
    `rejected_after` is a cursor: the last event in `rejected` of the
    previous answer, from which the next answer continues. `terms_refused` names the field of the
    program terms that this agent does not use, and why, without the content. `salvage` counts
    the events of database files that were set aside, if there are any. `closed`: this is the last
    message before the agent stops in order; it is of an older message if another one was sent later
    by the boot's clock.
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
    run_id: RunId | None = None
    round_trip_us: int | None = None
    rejected_after: EpochSequence | None = None
    terms_refused: str | None = None
    salvage: SalvageCounts | None = None
    closed: bool = False


class AcceptedThrough(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Last sequence number up to which head office has an epoch without a gap; 0: none."""

    epoch: str
    accepted_through: int


class HeartbeatAnswer(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True
):
    """The 200 to a heartbeat: progress of the epochs that the heartbeat listed.

    A watermark above `accepted_through` shows the agent that head office was restored from a
    backup. So does an event in `rejected` that the agent has marked as delivered. `rejected` is
    one page of the rejected events in these epochs, in head office's own order, starting after
    `rejected_after`; after an empty page the agent starts over. `shared_name`: head office has
    seen two machines under this store and till; the agent begins a new epoch once for it.
    `acknowledged`: of the losses that the heartbeat named, those without an open gap; a person
    accepted them. The sequence is the `lost_through` that was named.
    """

    epochs: list[AcceptedThrough]
    rejected: list[EpochSequence] = []
    acknowledged: list[EpochSequence] = []
    shared_name: bool = False
