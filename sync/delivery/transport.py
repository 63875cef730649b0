"""Port of a transport as a delivery pass uses it, with the result of sending a window."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import RetryLater, Stop


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Result of sending a window.

    `results`: events with a verdict. `doubtful`: events that were sent and may have been
    delivered: no verdict, or refused before central read them. All others were not sent.
    `unfinished`: why some stay pending though the pass may continue. `stop`: why the pass must end
    or correct the sequence numbers.
    """

    results: Sequence[EventResult]
    doubtful: Sequence[OutboxEvent] = ()
    unfinished: RetryLater | None = None
    stop: Stop | None = None


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
