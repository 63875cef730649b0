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


@dataclass(frozen=True, slots=True)
class Deferred:
    """No verdict on this event while others get one: it is deferred and retried later.

    `is_waiting`: it was not sent, because an earlier event of its session is deferred. Without
    `others_passed` only a request without effect has shown that central does not fail on all
    events: that time does not count towards making the event a dead letter.
    """

    error_code: str
    error_message: str
    http_status: int | None = None
    retry_after_seconds: float | None = None
    is_waiting: bool = False
    others_passed: bool = True


class BlockedReason(StrEnum):
    """Cause for which central refuses this agent until an operator fixes it."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "endpoint not found"
    UNKNOWN_PROTOCOL = "unknown protocol"
    CREDENTIALS = "credentials not usable"
    PROXY = "refused by the proxy"
    GATEWAY = "refused by a portal or gateway"
    TOO_MANY_EPOCHS = "database replaced too often"


# Head office has not been asked.
NOT_ASKED = (BlockedReason.CREDENTIALS, BlockedReason.PROXY, BlockedReason.GATEWAY)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Central refuses the caller, not an event: the outbox is kept and an alarm raised."""

    reason: BlockedReason
    detail: str
    http_status: int | None = None


class FailureCause(StrEnum):
    """Cause of a transient failure.

    `NETWORK_DOWN`: the store's own network. `CENTRAL_DOWN`: central's machine, or one in front of
    it, refused the connection. `NO_CONNECTION`: either of them.
    """

    NETWORK_DOWN = "no network"
    NO_CONNECTION = "no connection"
    CENTRAL_DOWN = "head office is down"
    WRONG_CLOCK = "clock wrong"
    UNTRUSTED_CERTIFICATE = "certificate not trusted"
    NO_TOKEN = "no token from the token endpoint"  # noqa: S105 - not a password
    NO_RESPONSE = "no response"
    OVERLOADED = "head office is overloaded"
    SERVER_ERROR = "head office failed"
    UNEXPECTED_RESPONSE = "unexpected response"
    NO_PROGRESS = "no progress"


_NOTHING_SENT = {
    FailureCause.NETWORK_DOWN,
    FailureCause.NO_CONNECTION,
    FailureCause.CENTRAL_DOWN,
    FailureCause.WRONG_CLOCK,
    FailureCause.UNTRUSTED_CERTIFICATE,
    FailureCause.NO_TOKEN,
}


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Transient failure: no verdict, retry later."""

    cause: FailureCause
    detail: str
    retry_after_seconds: float | None = None
    http_status: int | None = None

    @property
    def may_have_arrived(self) -> bool:
        """Whether the request may have reached central and taken effect."""
        return self.cause not in _NOTHING_SENT


@dataclass(frozen=True, slots=True)
class Rewind:
    """Central has a gap: it expects `expected_sequence` of the epoch next."""

    expected_sequence: int


@dataclass(frozen=True, slots=True)
class Renumber:
    """Central has other events under these sequence numbers.

    `after_sequence` is the last one that both sides agree on; later events need a new epoch.
    """

    after_sequence: int


Verdict = Delivered | Refused | Deferred
Stop = Blocked | RetryLater | Rewind | Renumber
