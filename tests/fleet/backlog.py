"""In-memory outbox of a store that holds only numbers; events are built on read."""

from collections.abc import Sequence

import msgspec

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import Delivered
from sync.protocol.wire import EventType

EPOCH = "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b"
BOOT = "9f0d8f57-0d6e-4b0e-9d7b-0f9c7c1d1f10"
_STARTED_US = 1_772_600_767_000_000


class Backlog:
    """Sessions numbered from 1 to `captured`; all up to `settled` are delivered."""

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id
        self.captured = 0
        self.settled = 0

    def capture(self) -> None:
        """Add a session."""
        self.captured += 1

    def body(self, number: int) -> bytes:
        """Return the body of the event with this number."""
        return msgspec.json.encode({"correlationId": self._name(number), "channel": "STORE"})

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest events above `after` that are not settled."""
        first = max(self.settled, after) + 1
        last = min(self.captured, first + limits.events - 1)
        events: list[OutboxEvent] = []
        size = 0
        for number in range(first, last + 1):
            event = self._event(number)
            size += len(event.body)
            if events and size > limits.max_bytes:
                break
            events.append(event)
        return Window(EPOCH, 1, events)

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return nothing: there are no dead letters."""
        return Window(EPOCH, 1, ())

    async def record_attempt(self, window: Window) -> None:
        """Do nothing: only `replay` needs the mark."""

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Advance the watermark."""
        for one in results:
            assert isinstance(one.verdict, Delivered), one
            assert one.event.position == self.settled + 1, "settled out of order"
            self.settled += 1

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Fail: this head office never asks for a rewind."""
        raise AssertionError(expected_sequence)

    async def renumber(self, epoch: str, after_sequence: int) -> bool:
        """Fail: this head office never asks for a new epoch."""
        raise AssertionError(after_sequence)

    def _name(self, number: int) -> str:
        return f"{self._store_id}-{number}"

    def _event(self, number: int) -> OutboxEvent:
        return OutboxEvent(
            position=number,
            sequence=number,
            type=EventType.SESSION_STARTED,
            session=number,
            correlation_id=self._name(number),
            occurred_at_us=_STARTED_US + number * 1_000_000,
            monotonic_us=number * 1_000_000,
            boot_id=BOOT,
            query_locale=None,
            body=self.body(number),
        )
