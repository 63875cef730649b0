"""State of delivery, as status, logs and metrics show it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.push import PassReport


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


def status_after(
    stop: Blocked | RetryLater,
    *,
    last_success_at: float | None,
    failures: int = 0,
    next_try_at: float | None = None,
) -> DeliveryStatus:
    """Return the status after a pass or heartbeat that ended with `stop`."""
    match stop:
        case Blocked(reason):
            state, cause = LoopState.HOLDING, reason.value
        case RetryLater(failure_cause):
            state, cause = LoopState.RETRYING, failure_cause.value
        case _:
            assert_never(stop)
    return DeliveryStatus(
        state, cause, stop.detail, stop.http_status, failures, next_try_at, last_success_at
    )


class PassTotals:
    """Counters over all passes since the start, for metrics."""

    def __init__(self) -> None:
        self.passes = 0
        self.failed_passes = 0
        self.delivered = 0
        self.assumed = 0
        self.refused = 0

    def add(self, report: PassReport) -> None:
        """Add a finished pass."""
        self.passes += 1
        self.failed_passes += report.stop is not None
        self.delivered += report.delivered
        self.assumed += report.assumed
        self.refused += report.refused

    def add_local_failure(self) -> None:
        """Add a pass that failed on this machine."""
        self.passes += 1
        self.failed_passes += 1
