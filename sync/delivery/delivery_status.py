"""State of delivery, as status, logs and metrics show it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sync.delivery.delivery_pass import PassReport
from sync.delivery.outcomes import Blocked, RetryLater


class LoopState(StrEnum):
    """State of delivery to central. `HOLDING`: central refuses this agent; the outbox is kept."""

    IDLE = "idle"
    DELIVERING = "delivering"
    QUIET = "quiet hours"
    RETRYING = "retrying"
    HOLDING = "holding"


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """Snapshot of the delivery loop.

    `cause` of `RETRYING` and `HOLDING`, `detail` its text. `next_try_at` and `last_success_at`
    are monotonic seconds.
    """

    state: LoopState
    cause: str | None = None
    detail: str | None = None
    http_status: int | None = None
    failures: int = 0
    next_try_at: float | None = None
    last_success_at: float | None = None


def failure_status(failure: Blocked | RetryLater) -> DeliveryStatus:
    """Return the status after a pass or a heartbeat that ended with `failure`."""
    match failure:
        case Blocked(reason, detail, http_status):
            return DeliveryStatus(LoopState.HOLDING, reason.value, detail, http_status)
        case RetryLater(cause, detail, _, http_status):
            return DeliveryStatus(LoopState.RETRYING, cause.value, detail, http_status)
        case _:
            assert_never(failure)


@dataclass(slots=True)
class PassTotals:
    """Counters over all passes since the start, for metrics."""

    passes: int = 0
    failed_passes: int = 0
    delivered: int = 0
    assumed: int = 0
    refused: int = 0

    def add(self, report: PassReport) -> None:
        """Add a finished pass."""
        self.passes += 1
        self.failed_passes += report.stop is not None
        self.delivered += report.delivered
        self.assumed += report.assumed
        self.refused += report.refused
