"""Port of a transport as a delivery pass uses it, with the result of sending a window."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Deferred,
    FailureCause,
    Refused,
    RetryLater,
    Stop,
)
from sync.protocol.wire import ErrorCode

# A firewall or gateway also answers so to a single body that it dislikes.
_MAYBE_ABOUT_AN_EVENT = {
    BlockedReason.UNAUTHORIZED,
    BlockedReason.FORBIDDEN,
    BlockedReason.GATEWAY,
    BlockedReason.NOT_FOUND,
}
_CREDENTIALS_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
# The verdict on an event that must not overtake.
SESSION_WAITS = Deferred(
    ErrorCode.SESSION_WAITS, "an earlier event of its session waits for a verdict", is_waiting=True
)
# An event that a gateway refuses is tried so often before it becomes a dead letter.
MAX_TRIES_AT_GATEWAY = 3


def may_be_about_an_event(failure: Blocked | RetryLater) -> bool:
    """Return whether the answer to one event looks like a refusal of this agent.

    Also if there was no newer token to repeat the request with: the one in use may be good.
    """
    if isinstance(failure, Blocked):
        return failure.reason in _MAYBE_ABOUT_AN_EVENT
    return failure.cause is FailureCause.NO_TOKEN and failure.http_status in _CREDENTIALS_REFUSED


@dataclass(frozen=True, slots=True)
class Suspect:
    """An event that failed. The failure may be its own, or that of all."""

    event: OutboxEvent
    failure: Blocked | RetryLater

    def own_verdict(self, *, others_passed: bool) -> Refused | Deferred:
        """Return the verdict on the event, as its failure is its own.

        `others_passed`: central has a verdict on other events. Without one, no event is refused.
        """
        failure = self.failure
        if isinstance(failure, RetryLater):
            return Deferred(
                ErrorCode.NO_VERDICT,
                f"no verdict on this event: {failure.cause.value}, {failure.detail}",
                failure.http_status,
                failure.retry_after_seconds,
                others_passed=others_passed,
            )
        return refused_by_gateway(self.event, failure.http_status, others_passed=others_passed)


def refused_by_gateway(
    event: OutboxEvent, status: int | None, *, others_passed: bool
) -> Refused | Deferred:
    """Return the verdict on an event that was answered as a caller is, and others are not."""
    message = (
        f"answered {status} to this event and not to other requests: a firewall or gateway before"
        " head office refuses its content"
    )
    if others_passed and event.attempts + 1 >= MAX_TRIES_AT_GATEWAY:
        return Refused(ErrorCode.REFUSED_BY_GATEWAY, message, status)
    return Deferred(ErrorCode.REFUSED_BY_GATEWAY, message, status, others_passed=others_passed)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Result of sending a window.

    `results`: events with a verdict. `doubtful`: events that were sent and may have been
    delivered: no verdict, or refused before central read them. All others were not sent.
    `stop`: why the pass must end or correct the sequence numbers. `suspects`: events that failed
    before a `stop`; they failed by themselves if another event passes. `is_central_up`: after them
    a request without effect was answered as it must be.
    """

    results: Sequence[EventResult]
    doubtful: Sequence[OutboxEvent] = ()
    stop: Stop | None = None
    suspects: Sequence[Suspect] = ()
    is_central_up: bool = False


class WindowCancelled(asyncio.CancelledError):
    """Sending a window was cancelled; `result` is what is known by then."""

    def __init__(self, result: WindowResult) -> None:
        super().__init__()
        self.result = result


class Transport(Protocol):
    """Sends windows to central in one of the protocols.

    `limits`: size limits of the next window. `is_idempotent`: central recognises a repeat; if not,
    attempts must be recorded first.
    """

    limits: BatchLimits
    is_idempotent: bool

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window` to central; a probe without retries. Failures are returned, not raised.

        When cancelled, raises `WindowCancelled` if answers received so far must be settled.
        """
