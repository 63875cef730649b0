"""The outbox as `batch` delivers it: head office is asked first how far it has the epochs.

A database that was put back from an image goes on under numbers that head office has of other
events. The answer to a heartbeat shows that; so one is exchanged after each opening of the store,
before its first window is sent. If it fails, the pass goes on, and the next pass tries again: a
head office that answers no heartbeat, but accepts batches, is not asked again once it did.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from agent.store.outbox.outbox import StoreOutbox
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window


class _Read(Protocol):
    async def __call__(self, limits: BatchLimits, *, after: int = 0) -> Window: ...


class OutboxAfterHeartbeat:
    """The outbox port `sync.delivery.outbox.Outbox`. Event loop only.

    `hear` waits until head office has answered a heartbeat since an opening, or one has failed.
    `on_accepted` is called after head office has accepted events.
    """

    def __init__(
        self,
        outbox: StoreOutbox,
        hear: Callable[[int], Awaitable[None]],
        on_accepted: Callable[[], None] = lambda: None,
    ) -> None:
        self._outbox = outbox
        self._hear = hear
        self._on_accepted = on_accepted
        self._asked: int | None = None
        self._accepted: int | None = None

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest unsettled events of one epoch above `after`."""
        return await self._read(self._outbox.next_window, limits, after)

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the dead letters to retry, of one epoch, above `after`; each pass begins here."""
        if after == 0:
            self._asked = None
        return await self._read(self._outbox.next_retry_window, limits, after)

    async def record_attempt(self, window: Window) -> None:
        """Record durably, before anything is sent, that `window` is in flight."""
        await self._outbox.record_attempt(window)

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Record durably the results of a window."""
        if results:
            self._accepted = self._asked
            self._on_accepted()
        await self._outbox.settle(window, results, doubtful)

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Make all events from `expected_sequence` on, or from the lowest held, pending again."""
        return await self._outbox.rewind(epoch, expected_sequence)

    async def renumber(self, epoch: str, after_sequence: int) -> bool:
        """Begin a new epoch with the events that follow `after_sequence` of `epoch`."""
        return await self._outbox.renumber(epoch, after_sequence)

    async def _read(self, read: _Read, limits: BatchLimits, after: int) -> Window:
        """Read a window of an opening for which head office was asked."""
        access = self._outbox.access
        while True:
            opening = access.opening
            if opening is None:
                raise OutboxUnavailable("the store is not open")
            if opening not in {self._asked, self._accepted}:
                # An idle agent asks at each pass otherwise, as long as it has no answer.
                window = await read(limits, after=after)
                if not window.events:
                    return window
                await self._hear(opening)
                self._asked = opening
            window = await read(limits, after=after)
            if access.opening == opening:
                return window
