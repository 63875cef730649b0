"""One delivery pass: send the pending events window by window and settle the results.

Pipelined: while a window is in flight, the next one is read and the previous one is settled.
No event is lost or delivered twice by that: only events that central confirmed are settled,
and a window whose settle was interrupted is resent, which central recognises as a repeat.

After a failure the pass starts with a probe, a single event; full windows follow its success.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from sync.delivery.outbox import (
    BatchLimits,
    EventResult,
    Outbox,
    OutboxEvent,
    OutboxUnavailable,
    Window,
)
from sync.delivery.outcomes import (
    Blocked,
    Delivered,
    FailureCause,
    Refused,
    Renumber,
    RetryLater,
    Rewind,
    Stop,
)

PROBE = BatchLimits(events=1, max_bytes=1)
# Limit of rewinds and renumberings in a pass. More of them is a disagreement about sequence
# numbers that repeating cannot resolve.
MOST_CORRECTIONS = 3
# On cancel, each of two places waits this long for a pending settle to be on the disk: together
# with the HTTP server's shutdown (`Door`, ANSWER_SECONDS) a stop takes at most 5 s.
LEAVING_SECONDS = 0.5
_DISAGREEMENT = RetryLater(
    FailureCause.NO_PROGRESS, "central and this agent do not agree on the next number"
)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Result of sending a window.

    `judged`: events with a verdict. `doubtful`: events that were sent and may have been
    delivered: no verdict, or refused before central read them. All others were not sent.
    `left`: why some stay pending though the pass may continue. `stop`: why the pass must end.
    """

    judged: Sequence[EventResult]
    doubtful: Sequence[OutboxEvent] = ()
    left: RetryLater | None = None
    stop: Stop | None = None


class WindowCancelled(asyncio.CancelledError):
    """Sending a window was cancelled; `known` is its result so far."""

    def __init__(self, known: WindowResult) -> None:
        super().__init__()
        self.known = known


class Transport(Protocol):
    """Sends windows to central in one of the protocols."""

    @property
    def limits(self) -> BatchLimits:
        """Size limits of the next window."""

    @property
    def leaves_doubt(self) -> bool:
        """Whether resending is not idempotent at central, so attempts must be recorded first."""

    async def deliver(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window` to central; a probe without retries. Failures are returned, not raised.

        When cancelled, raises `WindowCancelled` if answers received so far must be settled.
        """


@dataclass(slots=True)
class PassReport:
    """Result of a pass. `stop` is None when nothing was left to send."""

    delivered: int = 0
    assumed: int = 0
    refused: int = 0
    corrections: int = 0
    stop: Blocked | RetryLater | None = None

    @property
    def made_progress(self) -> bool:
        """Whether central accepted or refused at least one event."""
        return bool(self.delivered or self.refused)


class Pace(Protocol):
    """Pause between windows: `sent_bytes` of the last one, `more`: another one follows."""

    async def __call__(self, sent_bytes: int, *, more: bool) -> None:
        """Wait."""


Progress = Callable[[PassReport], None]


async def push_once(
    outbox: Outbox,
    transport: Transport,
    pace: Pace,
    *,
    probing: bool = False,
    progress: Progress = lambda _: None,
    may_continue: Callable[[], bool] = lambda: True,
) -> PassReport:
    """Deliver pending events until none is left or central stops it; return a report.

    `may_continue` is called after each window; if it returns False, the rest stays for another
    pass. Raises `OutboxUnavailable`. On an error or a cancel nothing unconfirmed is settled;
    answers received before a cancel are.
    """
    return await _Pass(outbox, transport, pace, progress, may_continue, probing=probing).run()


@dataclass(slots=True)
class _Pass:
    outbox: Outbox
    transport: Transport
    pace: Pace
    progress: Progress
    may_continue: Callable[[], bool]
    probing: bool
    report: PassReport = field(default_factory=PassReport)
    settling: "asyncio.Task[None] | None" = None

    async def run(self) -> PassReport:
        try:
            # Dead letters first: they are few, and e-mail answers may depend on their session.
            if await self._flow(self.outbox.next_retry_window) or self._may_pass_retries_by():
                await self._flow(self.outbox.read)
            await self._settled()
        finally:
            await self._leave()
        return self.report

    def _may_pass_retries_by(self) -> bool:
        """Return whether new events may be sent after a failed dead-letter retry.

        Without that retry they would have been sent as well. The next window is a probe.
        """
        self.probing = (
            isinstance(self.report.stop, RetryLater) and self.report.stop.may_have_arrived
        )
        return self.probing

    async def _flow(self, read: "_Read") -> bool:
        """Send all windows that `read` returns; return whether it reached the end."""
        # Settle first: new events may belong to sessions that were dead letters until now.
        await self._settled()
        window = await read(self._limits())
        while window.events:
            following, delivery = await self._deliver_reading_ahead(read, window)
            if delivery.left is not None:
                self.report.stop = delivery.left
            if delivery.stop is not None or following is None:
                after = await self._after(window, delivery)
                if after is None:
                    return False
                following = await read(self._limits(), after=after)
            await self.pace(_size(window), more=bool(following.events))
            if not self.may_continue():
                return False
            window = following
        return True

    async def _deliver_reading_ahead(
        self, read: "_Read", window: Window
    ) -> tuple[Window | None, WindowResult]:
        """Send `window` while the next one is read, unless that depends on this result."""
        if self.probing:
            return None, await self._deliver(window)
        ahead = asyncio.ensure_future(read(self._limits(), after=_last(window)))
        try:
            delivery = await self._deliver(window)
            # With one request per event, a refused or pending event affects later ones of its
            # session, so the next window must be read after this one is settled.
            if self.transport.leaves_doubt and not _is_all_delivered(window, delivery):
                return None, delivery
            return await ahead, delivery
        finally:
            ahead.cancel()

    async def _deliver(self, window: Window) -> WindowResult:
        if self.transport.leaves_doubt:
            # The outbox records one attempt at a time: settling ends the previous one.
            await self._settled()
            await self.outbox.record_attempt(window)
        try:
            delivery = await self.transport.deliver(window, probing=self.probing)
        except WindowCancelled as cut:
            await self._leave()
            self._begin_settling(window, cut.known)
            raise
        await self._settled()
        self._begin_settling(window, delivery)
        self._count(delivery.judged)
        return delivery

    async def _after(self, window: Window, delivery: WindowResult) -> int | None:
        """Follow the stop reason; return the position to read after, or None to end the pass."""
        await self._settled()
        match delivery.stop:
            case None:
                # A probe without a verdict proves nothing: the next window is a probe too.
                self.probing = self.probing and not delivery.judged
                return _last(window)
            case Rewind(expected_sequence):
                return await self._go_back(window, expected_sequence)
            case Renumber(after_sequence):
                return await self._renumber(window.epoch, after_sequence)
            case Blocked() | RetryLater():
                self.report.stop = delivery.stop
                return None
            case _:
                assert_never(delivery.stop)

    async def _go_back(self, window: Window, expected_sequence: int) -> int | None:
        if self._may_correct():
            waits_anew = await self.outbox.rewind(window.epoch, expected_sequence)
            # A heartbeat may have rewound the outbox since the window was read.
            if waits_anew or expected_sequence < window.events[0].sequence:
                return 0
        self.report.stop = _DISAGREEMENT
        return None

    async def _renumber(self, epoch: str, after_sequence: int) -> int | None:
        if not self._may_correct():
            self.report.stop = _DISAGREEMENT
            return None
        await self.outbox.renumber(epoch, after_sequence)
        return 0

    def _may_correct(self) -> bool:
        self.report.corrections += 1
        return self.report.corrections <= MOST_CORRECTIONS

    def _begin_settling(self, window: Window, delivery: WindowResult) -> None:
        self.settling = asyncio.ensure_future(
            self.outbox.settle(window, delivery.judged, delivery.doubtful)
        )

    async def _leave(self) -> None:
        """Flush the pending settle, best effort, within LEAVING_SECONDS."""
        settling, self.settling = self.settling, None
        if settling is not None:
            with contextlib.suppress(OutboxUnavailable, TimeoutError):
                await asyncio.wait_for(settling, LEAVING_SECONDS)

    async def _settled(self) -> None:
        """Wait until the previous window's settle is on the disk; raise its error."""
        if self.settling is None:
            return
        # Unlike a bare await, `wait` does not cancel the settle with the pass: see `_leave`.
        await asyncio.wait([self.settling])
        settling, self.settling = self.settling, None
        settling.result()

    def _limits(self) -> BatchLimits:
        return PROBE if self.probing else self.transport.limits

    def _count(self, judged: Sequence[EventResult]) -> None:
        for one in judged:
            match one.verdict:
                case Delivered(assumed):
                    self.report.delivered += 1
                    self.report.assumed += assumed
                case Refused():
                    self.report.refused += 1
                case _:
                    assert_never(one.verdict)
        self.progress(self.report)


class _Read(Protocol):
    async def __call__(self, limits: BatchLimits, *, after: int = 0) -> Window: ...


def _last(window: Window) -> int:
    return window.events[-1].position


def _is_all_delivered(window: Window, delivery: WindowResult) -> bool:
    delivered = sum(isinstance(one.verdict, Delivered) for one in delivery.judged)
    return delivered == len(window.events)


def _size(window: Window) -> int:
    return sum(len(event.body) for event in window.events)
