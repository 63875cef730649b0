"""In-memory outbox: the reference model of the real one, behind the port `Outbox`."""

import asyncio
from collections.abc import Sequence

from agent.facts import Receipt
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window
from sync.delivery.outcomes import Deferred
from sync.protocol.wire import EventType
from tests.support.models.outbox import ModelEvent, OutboxModel

# A deferred event is due again after so long.
DEFERRED_SECONDS = 2.0


class FakeOutbox:
    """Passes the contract suite `tests.contracts.delivery.outbox`, as the real one does.

    While `unavailable` is set, every call fails. `settle` waits until `settling` is set. `calls`:
    names of the calls, in order.
    """

    def __init__(self) -> None:
        self.model = OutboxModel()
        self.unavailable: str | None = None
        self.settling = asyncio.Event()
        self.settling.set()
        self.calls: list[str] = []
        self._names = 0
        self._due_at: dict[int, float] = {}

    async def capture_sessions(self, count: int) -> None:
        """Add `count` sessions."""
        for _ in range(count):
            self.capture_session()

    def capture_session(self) -> int:
        """Add a session; return its position."""
        self._names += 1
        self.model.capture(f"s{self._names}", None, None)
        return self.model.last_position

    def capture_answer(self, session: int) -> int:
        """Add an answer to the session at this position; return the answer's position."""
        kept = self.model.held[session]
        self.model.capture(kept.name, session, "guest@example.com")
        return self.model.last_position

    async def request_retry(self, sequence: int) -> None:
        """Mark a dead letter of the current epoch for retry."""
        wanted = Receipt(self.model.current, sequence)
        (position,) = (at for at, receipt in self.model.receipts.items() if receipt == wanted)
        assert self.model.retry(self.model.held[position])

    @property
    def outbox(self) -> "FakeOutbox":
        """Return itself: it is its own `OutboxHarness`."""
        return self

    @property
    def waiting(self) -> list[int]:
        """Positions of the events without a verdict."""
        held = sorted(self.model.held.items())
        return [at for at, kept in held if not kept.is_settled or kept.is_deferred]

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest unsettled events above `after`, of one epoch."""
        self._call("next_window")
        return self._window(self.model.pending(), limits, after, is_retry=False)

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the dead letters marked for retry above `after`, of one epoch."""
        self._call("read_retries")
        now = asyncio.get_running_loop().time()
        due = [one for one in self.model.deferred() if self._due_at.get(one.position, 0) <= now]
        found = sorted([*self.model.retries(), *due], key=lambda one: one.position)
        return self._window(found, limits, after, is_retry=True)

    async def record_attempt(self, window: Window) -> None:
        """Record that `window` is about to be sent."""
        self._call("note_attempt", window)
        self.model.attempt([self.model.held[event.position] for event in window.events])

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Save the verdicts on a window."""
        await self.settling.wait()
        self._call("settle", window)
        verdicts = {one.event.position: one.verdict for one in results}
        for one in results:
            if isinstance(one.verdict, Deferred):
                now = asyncio.get_running_loop().time()
                self._due_at[one.event.position] = now + DEFERRED_SECONDS
        self.model.settle(window, verdicts, [event.position for event in doubtful])

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Make all events from `expected_sequence` on pending again."""
        self._call("rewind")
        return epoch in self.model.bases and self.model.rewind(epoch, expected_sequence)

    async def renumber(self, epoch: str, after_sequence: int) -> bool:
        """Start a new epoch."""
        self._call("renumber")
        self.model.renumber(epoch, after_sequence, f"epoch-{len(self.model.bases) + 1}")
        return True

    def _call(self, name: str, window: Window | None = None) -> None:
        self.calls.append(name)
        if self.unavailable is not None:
            raise OutboxUnavailable(self.unavailable)
        if window is not None and window.epoch not in self.model.bases:
            raise OutboxUnavailable("another outbox")

    def _window(
        self, found: list[ModelEvent], limits: BatchLimits, after: int, *, is_retry: bool
    ) -> Window:
        above = [kept for kept in found if kept.position > after][: limits.events]
        if not above:
            return Window(self.model.current, 1, ())
        epoch, size = self.model.receipts[above[0].position].epoch, 0
        events: list[OutboxEvent] = []
        for kept in above:
            size += len(kept.body)
            is_over = bool(events) and size > limits.max_bytes
            if is_over or self.model.receipts[kept.position].epoch != epoch:
                break
            events.append(self._event(kept, is_retry=is_retry))
        base = max(self.model.purged_through - self.model.bases[epoch], 0) + 1
        return Window(epoch, base, events, last_position=self.model.last_position)

    def _event(self, kept: ModelEvent, *, is_retry: bool) -> OutboxEvent:
        return OutboxEvent(
            position=kept.position,
            sequence=self.model.receipts[kept.position].sequence,
            type=EventType.EMAIL_ANSWERED if kept.is_answer else EventType.SESSION_STARTED,
            session=kept.session,
            correlation_id=kept.name,
            occurred_at_us=0,
            monotonic_us=0,
            boot_id="boot-1",
            query_locale=None,
            body=kept.body,
            is_erased=kept.is_erased,
            is_doubtful=self.model.is_doubtful(kept, is_retry=is_retry),
            session_refused=self.model.session_refused(kept, is_retry=is_retry),
            is_overtaken=self.model.is_overtaken(kept, is_retry=is_retry),
            refusal=kept.refusal if is_retry else None,
            attempts=int(kept.is_deferred),
            is_waiting=kept.is_answer and self.model.held[kept.session].is_deferred,
        )
