"""Outcomes of a delivery attempt, as values."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Delivered:
    """Central has the event. `assumed`: it reported a duplicate after an attempt in doubt."""

    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Permanent refusal of this event: a dead letter. `http_status` None if not from HTTP."""

    error_code: str
    error_message: str
    http_status: int | None


class HoldReason(StrEnum):
    """Cause for which central refuses this agent until an operator fixes it."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "endpoint not found"
    UNKNOWN_PROTOCOL = "unknown protocol"
    CREDENTIALS = "credentials not usable"


@dataclass(frozen=True, slots=True)
class Blocked:
    """Central refuses the caller, not an event: the outbox is kept and an alarm raised."""

    reason: HoldReason
    detail: str
    http_status: int | None = None


class FailureCause(StrEnum):
    """Cause of a transient failure.

    `NO_LINE`: the store's own network is down. `AWAY`: central's machine, or one in front of it,
    refused the connection. `NO_CONNECTION`: either of them.
    """

    NO_LINE = "no line"
    NO_CONNECTION = "no connection"
    AWAY = "head office is away"
    CLOCK = "clock wrong"
    TLS = "no trust in the certificate"
    NO_TOKEN = "no token from the token endpoint"  # noqa: S105 - says that there is none
    NO_ANSWER = "no answer"
    BUSY = "head office is busy"
    FAILED = "head office failed"
    NOT_CENTRAL = "the answer is not central's"
    NO_PROGRESS = "no progress"


_NOTHING_SENT = frozenset(
    {
        FailureCause.NO_LINE,
        FailureCause.NO_CONNECTION,
        FailureCause.AWAY,
        FailureCause.CLOCK,
        FailureCause.TLS,
        FailureCause.NO_TOKEN,
    }
)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Transient failure: no verdict, retry later."""

    trouble: FailureCause
    detail: str
    retry_after_seconds: float | None = None
    http_status: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the request may have reached central and taken effect."""
        return self.trouble not in _NOTHING_SENT


@dataclass(frozen=True, slots=True)
class GoBack:
    """Central has a gap: it expects `expected_sequence` of the epoch next."""

    expected_sequence: int


@dataclass(frozen=True, slots=True)
class Renumber:
    """Central has other events under these sequence numbers.

    `after_sequence` is the last one that both sides agree on; later events need a new epoch.
    """

    after_sequence: int


Verdict = Delivered | Refused
Stop = Blocked | RetryLater | GoBack | Renumber
