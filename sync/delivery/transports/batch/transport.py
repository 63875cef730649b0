"""The protocol `batch`: windows go to head office's receiver, many events in one request.

An answer that refuses a request as a whole (413, 400, 422) is put down to a single event only
after halving down to it, and only if head office takes the same request with the event's
content left out: then the record was at fault. If it refuses that too, it does not
understand this agent, and the queue is held.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from sync.delivery.outbox import Judged, OutboxEvent, Portion, Window
from sync.delivery.outcomes import Trouble, TryLater
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
from sync.delivery.transports.short_retries import Attempts
from sync.protocol.wire import BATCHES_PATH, BatchAccepted

_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "zstd"}


class BatchTransport:
    """Carries windows to a receiver. A repeat has no effect there, so nothing is left in doubt."""

    def __init__(
        self, caller: Caller, sender: Sender, attempts: Attempts, portion: Portion
    ) -> None:
        """`portion`: the most events, and bytes of their bodies, in one request."""
        self._caller = caller
        self._sender = sender
        self._attempts = attempts
        self._max_bytes = portion.max_bytes
        self._size = BatchSize(portion.events)

    @property
    def portion(self) -> Portion:
        """The most that a window should hold: less for a while after a 413."""
        return Portion(self._size.events, self._max_bytes)

    @property
    def leaves_doubt(self) -> bool:
        """No: the numbers tell head office what it has already."""
        return False

    async def deliver(self, window: Window, *, probing: bool) -> Delivery:
        """Carry `window` to head office, in halves where it refuses it as a whole."""
        judged: list[Judged] = []
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
        """Tell head office the number of a single event whose content it refuses."""
        outcome = await self._post(window, part, once=once, withheld=True)
        if isinstance(outcome, RefusedWhole):
            return (), refused_whatever_it_holds(outcome)
        if isinstance(outcome, BatchAccepted):
            # Only that the number is known counts: even if it is known with the content.
            outcome = msgspec.structs.replace(outcome, rejected=[])
        known, stop = ruling(part, outcome)
        return [Judged(one.event, refused.verdict) for one in known], stop

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
            case RefusedWhole(is_too_large=True) | TryLater(trouble=Trouble.NO_ANSWER):
                # A line may be too slow for so many, too.
                self._size.was_too_large(len(part))
        return outcome
