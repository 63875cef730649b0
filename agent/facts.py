"""What the store keeps and what it says of it: plain values, no I/O."""

import re
from dataclasses import dataclass
from enum import StrEnum


class EmailStatus(StrEnum):
    """The customer's answer to the e-mail prompt (`reference/set-email.txt`)."""

    DEFERRED = "deferred"
    ACCEPTED = "accepted"
    DECLINED = "declined"


class DeliveryState(StrEnum):
    """Where a capture stands on its way to central."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened, by both clocks of the machine, in microseconds.

    `wall_us` counts from 1970 in UTC and may be wrong; `monotonic_us` counts
    from the machine's boot and never steps, so that head office can correct it.
    """

    wall_us: int
    monotonic_us: int


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A session start worth keeping.

    `body` is the till's own, as it came; `query_locale` stands beside it.
    A `closed` session takes no e-mail answer.
    """

    correlation_id: str
    query_locale: str | None
    closed: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class EmailAnswered:
    """An e-mail answer worth keeping. `body` is the till's JSON without the address."""

    correlation_id: str
    status: EmailStatus
    address: str | None
    body: bytes


Capture = SessionStarted | EmailAnswered


# EPOCH/SEQUENCE; numbers of 16 digits are beyond any epoch.
RECEIPT_PATTERN = "([0-9a-f-]{36})/([0-9]{1,16})"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The number under which head office will find a capture."""

    epoch: str
    sequence: int

    def __str__(self) -> str:
        """Write it as the `Loyalty-Receipt` header does."""
        return f"{self.epoch}/{self.sequence}"

    @classmethod
    def read(cls, text: str) -> "Receipt | None":
        """Return the receipt that is written in `text`; None for anything else."""
        found = re.fullmatch(RECEIPT_PATTERN, text)
        return None if found is None else cls(found[1], int(found[2]))


@dataclass(frozen=True, slots=True)
class Recorded:
    """The capture is on the disk, now (`repeated` false) or since an earlier request."""

    receipt: Receipt
    repeated: bool


@dataclass(frozen=True, slots=True)
class IdTaken:
    """The correlation id stands for a session with other content."""


@dataclass(frozen=True, slots=True)
class NoOpenSession:
    """No session of this id takes an e-mail answer: unknown, or started as closed."""


Outcome = Recorded | IdTaken | NoOpenSession
