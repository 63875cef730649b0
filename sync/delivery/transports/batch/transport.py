"""The protocol `batch`: many events in one request to head office's receiver.

A response that refuses the whole request (413, 400, 422) does not name the event at fault, so
the batch is bisected down to a single event. That event becomes a dead letter only if head
office accepts the same request without the event's content. If not, head office does not
understand this agent at all, and delivery is blocked with the outbox kept.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import FailureCause, RetryLater
from sync.delivery.push import Delivery
from sync.delivery.transports.batch.adaptive_batch_size import BatchSize
from sync.delivery.transports.batch.documents import packed
from sync.delivery.transports.batch.sender import Sender
from sync.delivery.transports.batch.verdicts import (
    Outcome,
    RefusedWhole,
    Ruling,
    outcome_of,
    refused_whatever_it_holds,
    ruling,
)
from sync.delivery.transports.client import Caller
from sync.delivery.transports.http import Answer
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.wire import BATCHES_PATH, BatchAccepted

_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "zstd"}


class BatchTransport:
    """Sends windows to a receiver. Idempotent there, so no event is left in doubt."""

    def __init__(
        self, caller: Caller, sender: Sender, attempts: ShortRetries, portion: BatchLimits
    ) -> None:
        """Limit each request to `portion`: events, and bytes of their bodies."""
        self._caller = caller
        self._sender = sender
        self._attempts = attempts
        self._max_bytes = portion.max_bytes
        self._size = BatchSize(portion.events)

    @property
    def portion(self) -> BatchLimits:
        """Size limits of the next window: smaller for a while after a 413."""
        return BatchLimits(self._size.events, self._max_bytes)

    @property
    def leaves_doubt(self) -> bool:
        """False: head office recognises a repeat by its sequence numbers."""
        return False

    async def deliver(self, window: Window, *, probing: bool) -> Delivery:
        """Send `window` to head office; bisect it where head office refuses it as a whole."""
        judged: list[EventResult] = []
        parts = deque([window.events])
        while parts:
            part = parts.popleft()
            outcome = await self._post(window, part, once=probing)
            if isinstance(outcome, RefusedWhole) and len(part) > 1:
                middle = len(part) // 2
                parts.extendleft((part[middle:], part[:middle]))
                continue
            if isinstance(outcome, RefusedWhole):
                some, stop = await self._without_content(window, part, outcome, once=probing)
            else:
                some, stop = ruling(part, outcome)
            judged += some
            if stop is not None:
                return Delivery(judged, stop=stop)
            if len(some) < len(part):
                parts.appendleft(part[len(some) :])
        return Delivery(judged)

    async def _without_content(
        self, window: Window, part: Sequence[OutboxEvent], refused: RefusedWhole, *, once: bool
    ) -> Ruling:
        """Send a single refused event again without its content, for its sequence number."""
        outcome = await self._post(window, part, once=once, withheld=True)
        if isinstance(outcome, RefusedWhole):
            return (), refused_whatever_it_holds(outcome)
        if isinstance(outcome, BatchAccepted):
            # Only the sequence number counts here: ignore rejections such as `ALTERED`.
            outcome = msgspec.structs.replace(outcome, rejected=[])
        known, stop = ruling(part, outcome)
        return [EventResult(one.event, refused.verdict) for one in known], stop

    async def _post(
        self, window: Window, part: Sequence[OutboxEvent], *, once: bool, withheld: bool = False
    ) -> Outcome:
        body = await packed(window, part, self._sender, withheld=withheld)

        async def ask() -> Outcome:
            answer = await self._caller.ask("POST", BATCHES_PATH, body=body, headers=_HEADERS)
            return outcome_of(answer, part) if isinstance(answer, Answer) else answer

        outcome = await (ask() if once else self._attempts.until_clear(ask))
        match outcome:
            case BatchAccepted():
                self._size.took(len(part))
            case RefusedWhole(is_too_large=True) | RetryLater(trouble=FailureCause.NO_ANSWER):
                # A timeout counts too: the network may be too slow for so many events.
                self._size.was_too_large(len(part))
        return outcome
