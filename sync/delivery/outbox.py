"""Port of the outbox as a delivery pass uses it, with its value types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sync.delivery.outcomes import Refused, Verdict
from sync.protocol.wire import EventType


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """A pending event. `position` is its key in the outbox, ascending.

    `session` is the position of its session's event. `body` is the JSON to send with the address
    decrypted; `is_erased`: the address no longer exists. `is_doubtful`: an earlier attempt may
    have delivered it. `session_refused`: its session is a dead letter. `is_overtaken`: a later
    answer of its session was delivered. `refusal`: central's last refusal, if the event is a dead
    letter being retried. `attempts`: those counted so far, of a dead letter or a deferred event.
    `is_waiting`: an earlier event of its session is deferred. `damage`: why the stored event cannot
    be believed; then only its number is sent, and this is the verdict on it.
    """

    position: int
    sequence: int
    type: EventType
    session: int
    correlation_id: str
    occurred_at_us: int
    monotonic_us: int
    boot_id: str
    query_locale: str | None
    body: bytes
    is_erased: bool = False
    is_doubtful: bool = False
    session_refused: bool = False
    is_overtaken: bool = False
    refusal: Refused | None = None
    attempts: int = 0
    is_waiting: bool = False
    damage: Refused | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Events of one epoch in ascending order; empty if nothing is pending.

    `base_sequence`: the outbox holds every event of the epoch from this sequence on. `ended_at`:
    the last sequence of an epoch that has ended; None if new events are still added to it.
    `last_position`: the highest one of the outbox.
    """

    epoch: str
    base_sequence: int
    events: Sequence[OutboxEvent]
    ended_at: int | None = None
    last_position: int = 0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Size limits of a window: events, and bytes of their bodies (a single event may exceed)."""

    events: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class EventResult:
    """An event and central's verdict on it."""

    event: OutboxEvent
    verdict: Verdict


class OutboxUnavailable(Exception):  # noqa: N818 - names the state
    """The outbox cannot be read or written now; the message says why. Nothing is lost."""


class Outbox(Protocol):
    """Undelivered events of this machine. All methods raise `OutboxUnavailable`."""

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest unsettled events above `after`, of one epoch."""

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the dead letters marked for retry above `after`, of one epoch."""

    async def record_attempt(self, window: Window) -> None:
        """Record durably, before anything is sent, that `window` is about to be sent."""

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Save the verdicts on a window durably, and mark `doubtful` as possibly delivered.

        Fails if the outbox was replaced by another one since `window` was read.
        """

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Make all events from `expected_sequence` on, as far as held, pending again.

        Returns whether any event became pending by that.
        """

    async def renumber(self, epoch: str, after_sequence: int) -> bool:
        """Start a new epoch and move the events after `after_sequence` of `epoch` into it.

        Returns False, without a change, if too many were started of late.
        """
