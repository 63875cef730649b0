"""The protocol `batch`: many events in one request to head office's receiver.

A response that refuses the whole request (413, 400, 422) does not name the event at fault, so
the batch is bisected down to a single event. That event becomes a dead letter only if head
office accepts the same request without the event's content. If not, head office does not
understand this agent at all, and delivery is blocked with the outbox kept.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, Refused, RetryLater
from sync.delivery.transport import WindowResult
from sync.delivery.transports import responses
from sync.delivery.transports.batch.documents import Sender, compressed_batch
from sync.delivery.transports.batch.verdicts import Outcome, Verdicts, interpret, verdicts_on
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.wire import BATCHES_PATH, BatchAccepted

_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "zstd"}


class BatchTransport:
    """Sends windows to a receiver."""

    is_idempotent = True  # head office recognises a repeat by its sequence numbers

    def __init__(
        self, client: CentralClient, sender: Sender, retries: ShortRetries, limits: BatchLimits
    ) -> None:
        """Limit each request to `limits`: events, and bytes of their bodies.

        After a 413 they are lower for a while: halved, then increased slowly.
        """
        self._client = client
        self._sender = sender
        self._retries = retries
        self.limits = self._max_limits = limits

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window` to head office; bisect it where head office refuses it as a whole."""
        results: list[EventResult] = []
        parts = deque([window.events])
        while parts:
            part = parts.popleft()
            outcome = await self._post(window, part, once=probing)
            if isinstance(outcome, Refused) and len(part) > 1:
                middle = len(part) // 2
                parts.extendleft((part[middle:], part[:middle]))
                continue
            if isinstance(outcome, Refused):
                some, stop = await self._without_content(window, part, outcome, once=probing)
            else:
                some, stop = verdicts_on(part, outcome)
            results += some
            if stop is not None:
                return WindowResult(results, stop=stop)
            if len(some) < len(part):
                parts.appendleft(part[len(some) :])
        return WindowResult(results)

    async def _without_content(
        self, window: Window, part: Sequence[OutboxEvent], refused: Refused, *, once: bool
    ) -> Verdicts:
        """Send a single refused event again without its content, for its sequence number."""
        outcome = await self._post(window, part, once=once, withheld=True)
        if isinstance(outcome, Refused):
            detail = f"every request is refused: {outcome.error_code}: {outcome.error_message}"
            return (), Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, outcome.http_status)
        if isinstance(outcome, BatchAccepted):
            # Only the sequence number counts here: ignore rejections such as `ALTERED`.
            outcome = msgspec.structs.replace(outcome, rejected=[])
        known, stop = verdicts_on(part, outcome)
        return [EventResult(one.event, one.event.damage or refused) for one in known], stop

    async def _post(
        self, window: Window, part: Sequence[OutboxEvent], *, once: bool, withheld: bool = False
    ) -> Outcome:
        sent_us = self._sender.clock().monotonic_us
        body = await compressed_batch(window, part, self._sender, withheld=withheld)

        async def attempt() -> Outcome:
            reply = await self._client.request("POST", BATCHES_PATH, body=body, headers=_HEADERS)
            return interpret(reply, part) if isinstance(reply, HttpResponse) else reply

        outcome = await (attempt() if once else self._retries.run(attempt))
        if isinstance(outcome, BatchAccepted):
            self._sender.round_trip.note(sent_us, self._sender.clock().monotonic_us)
        self._adapt_limits(len(part), outcome)
        return outcome

    def _adapt_limits(self, sent: int, outcome: Outcome) -> None:
        events = self.limits.events
        match outcome:
            case BatchAccepted() if sent >= events:
                events = min(self._max_limits.events, sent + max(1, sent // 16))
            # A timeout counts too: the network may be too slow for so many events. A single event
            # is no evidence for others.
            case responses.TOO_LARGE | RetryLater(cause=FailureCause.NO_RESPONSE) if sent > 1:
                events = min(events, sent // 2)
        self.limits = replace(self.limits, events=events)
