"""Values that the store takes and returns. No I/O."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

# Names of a machine that has none yet.
UNNAMED_STORE, UNNAMED_TILL = "unnamed-store", "unnamed-till"
HOW_TO_JOIN = "Set what is missing and restart, or join head office with: loyalty-agent join"


class EmailStatus(StrEnum):
    """The customer's answer to the e-mail prompt (`docs/till-api.md`)."""

    DEFERRED = "deferred"
    ACCEPTED = "accepted"
    DECLINED = "declined"


class DeliveryState(StrEnum):
    """Delivery state of a capture."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A timestamp by both clocks of the machine, in microseconds.

    `wall_us` is Unix time in UTC and may be wrong; `monotonic_us` counts from the machine's boot
    and never steps, so head office can correct `wall_us` by it.
    """

    wall_us: int
    monotonic_us: int


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A validated session start.

    `body` is the till's JSON, byte for byte; `query_locale` comes from the query string. A `closed`
    session takes no e-mail answer.
    """

    correlation_id: str
    query_locale: str | None
    closed: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class EmailAnswered:
    """A validated e-mail answer. `body` is the till's JSON without the address."""

    correlation_id: str
    status: EmailStatus
    address: str | None
    body: bytes


Capture = SessionStarted | EmailAnswered


# EPOCH/SEQUENCE, with at most 16 digits: no epoch gets that far.
RECEIPT_PATTERN = "([0-9a-f-]{36})/([0-9]{1,16})"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The number of a capture: epoch and sequence, as head office knows it."""

    epoch: str
    sequence: int

    def __str__(self) -> str:
        """Return the value of the `Loyalty-Receipt` header."""
        return f"{self.epoch}/{self.sequence}"

    @classmethod
    def read(cls, text: str) -> "Receipt | None":
        """Parse a receipt; return None if `text` is not one."""
        found = re.fullmatch(RECEIPT_PATTERN, text)
        return None if found is None else cls(found[1], int(found[2]))


@dataclass(frozen=True, slots=True)
class Recorded:
    """The capture is on disk: since now, or (`repeated`) since an earlier request."""

    receipt: Receipt
    repeated: bool


@dataclass(frozen=True, slots=True)
class IdTaken:
    """The correlation id belongs to a session with other content.

    For the reason in words, and no part of the decision: when it was captured, if known, and the
    members that differ, in their order.
    """

    used_at_us: int | None = field(default=None, compare=False)
    other_members: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class NoOpenSession:
    """No session with this id takes e-mail answers: unknown, or started as closed."""

    is_closed: bool = field(default=False, compare=False)


Outcome = Recorded | IdTaken | NoOpenSession


def settings_missing_for_delivery(store_id: str, till_id: str, central_url: str) -> list[str]:
    """Return the names of the settings that are missing for delivery."""
    missing = {
        "store.store_id": store_id == UNNAMED_STORE,
        "store.till_id": till_id == UNNAMED_TILL,
        "central.url": not central_url,
    }
    return [name for name, is_missing in missing.items() if is_missing]


def unset_for_delivery(store_id: str, till_id: str, central_url: str) -> str:
    """Return which settings are missing for delivery, as the start of a sentence; empty if none."""
    *others, last = settings_missing_for_delivery(store_id, till_id, central_url) or [""]
    if not others:
        return last and f"{last} is not set"
    return f"{', '.join(others)} and {last} are not set"
