"""One delivery pass: send the pending events window by window and settle the results.

Pipelined: while a window is in flight, the next one is read and the previous one is settled.
Only events confirmed by central are settled. After a crash or cancel before the settle, the
window is sent again; central recognises the repeat, or the outbox marks it as in doubt.

After a failure the pass starts with a probe, a single event; full windows follow its success.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    Deferred,
    Delivered,
    FailureCause,
    Refused,
    Renumber,
    RetryLater,
    Rewind,
)
from sync.delivery.throttle import Throttle
from sync.delivery.transport import Suspect, Transport, WindowCancelled, WindowResult
from sync.protocol.wire import EventType

PROBE = BatchLimits(events=1, max_bytes=1)
# Where a session is looked for that shows whether central fails on all.
SAMPLE = BatchLimits(events=32, max_bytes=65_536)
_GOLDEN_RATIO = 0.618_034
# After so many failed passes, in minutes, so few sessions are no evidence against central.
MANY_FAILURES, FEW_SESSIONS = 8, 2
# Limit of rewinds and renumberings in a pass. More of them is a disagreement about sequence
# numbers that repeating cannot resolve.
MAX_CORRECTIONS = 3
# On cancel, each of two places waits this long for a pending settle to be on the disk: together
# with the shutdown of the agent's HTTP server a stop takes at most 5 s.
FLUSH_SECONDS = 0.5
_DISAGREEMENT = RetryLater(
    FailureCause.NO_PROGRESS, "head office and this agent do not agree on the next sequence number"
)


@dataclass(slots=True)
class PassReport:
    """Result of a pass. `stop` is None when nothing was left to send."""

    delivered: int = 0
    assumed: int = 0
    refused: int = 0
    deferred: int = 0
    corrections: int = 0
    stop: Blocked | RetryLater | None = None

    @property
    def made_progress(self) -> bool:
        """Whether central accepted or refused at least one event."""
        return bool(self.delivered or self.refused)

    def add(self, results: Sequence[EventResult]) -> None:
        """Count the verdicts on a window's events."""
        for one in results:
            match one.verdict:
                case Delivered(assumed):
                    self.delivered += 1
                    self.assumed += assumed
                case Refused():
                    self.refused += 1
                case Deferred():
                    self.deferred += 1
                case _:
                    assert_never(one.verdict)


class _Read(Protocol):
    async def __call__(self, limits: BatchLimits, *, after: int = 0) -> Window: ...


@dataclass(slots=True)
class DeliveryPass:
    """One pass; `probing`: its first window holds a single event.

    `failures`: failed passes before this one.
    `may_continue` is called after each window; if it returns False, the rest stays for another
    pass.
    """

    outbox: Outbox
    transport: Transport
    throttle: Throttle
    probing: bool = False
    failures: int = 0
    on_progress: Callable[[PassReport], None] = lambda _: None
    may_continue: Callable[[], bool] = lambda: True
    report: PassReport = field(default_factory=PassReport)
    pending_settle: "asyncio.Task[None] | None" = None

    async def run(self) -> PassReport:
        """Deliver pending events until none is left or central stops it; return a report.

        Raises `OutboxUnavailable`. On an error or a cancel nothing unconfirmed is settled; answers
        received before a cancel are.
        """
        try:
            # Dead letters first: they are few, and e-mail answers may depend on their session.
            retried = await self._send_all(self.outbox.next_retry_window)
            if retried or self._may_send_new_events():
                await self._send_all(self.outbox.next_window)
            await self._await_settle()
        finally:
            await self._flush_settle()
        return self.report

    def _may_send_new_events(self) -> bool:
        """Return whether new events may be sent after a failed dead-letter retry.

        Without that retry they would have been sent as well. The next window is a probe.
        """
        stop = self.report.stop
        self.probing = isinstance(stop, RetryLater) and stop.may_have_arrived
        return self.probing

    async def _send_all(self, read: _Read) -> bool:
        """Send all windows that `read` returns; return whether it reached the end."""
        # Settle first: new events may belong to sessions that were dead letters until now.
        await self._await_settle()
        window = await read(self._limits())
        while window.events:
            result, following = await self._send_and_prefetch(window, read)
            if result.stop is not None or following is None:
                await self._await_settle()
                after = await self._position_to_read_after(window, result)
                if after is None:
                    return False
                following = await read(self._limits(), after=after)
            sent_bytes = sum(len(event.body) for event in window.events)
            await self.throttle.pause(sent_bytes, more=bool(following.events))
            if not self.may_continue():
                return False
            window = following
        return True

    async def _send_and_prefetch(
        self, window: Window, read: _Read
    ) -> tuple[WindowResult, Window | None]:
        """Send `window` while the next one is read, unless that depends on this result."""
        if self.probing:
            return await self._send(window), None
        prefetch = asyncio.ensure_future(read(self._limits(), after=window.events[-1].position))
        try:
            result = await self._send(window)
            # A deferred event affects later ones of its session, and with one request per event a
            # refused or pending one does: the next window must be read after this one is settled.
            is_affected = any(isinstance(one.verdict, Deferred) for one in result.results)
            if not self.transport.is_idempotent:
                is_affected = not _is_all_delivered(window, result)
            if is_affected:
                return result, None
            return result, await prefetch
        finally:
            prefetch.cancel()

    async def _send(self, window: Window) -> WindowResult:
        if not self.transport.is_idempotent:
            # The outbox records one attempt at a time: settling ends the previous one.
            await self._await_settle()
            await self.outbox.record_attempt(window)
        try:
            result = await self.transport.send(window, probing=self.probing)
        except WindowCancelled as cancelled:
            await self._flush_settle()
            self._start_settle(window, cancelled.result)
            raise
        await self._await_settle()
        self._start_settle(window, result)
        self.report.add(result.results)
        self.on_progress(self.report)
        return result

    async def _position_to_read_after(self, window: Window, result: WindowResult) -> int | None:
        """Act on the stop reason; return the position to read after, None to end the pass."""
        match result.stop:
            case None:
                # A probe without a verdict proves nothing: the next window is a probe too.
                self.probing = self.probing and not _has_passed(result)
                return window.events[-1].position
            case Rewind() | Renumber():
                return await self._correct(window, result.stop)
            case Blocked() | RetryLater():
                if result.suspects:
                    others_passed = await self._passes_elsewhere(result.suspects, window)
                    if others_passed or await self._is_quiet(result):
                        await self._defer(result, window, others_passed=others_passed)
                        self.probing &= not others_passed
                        return 0
                self.report.stop = result.stop
                return None
            case _:
                assert_never(result.stop)

    async def _passes_elsewhere(self, suspects: Sequence[Suspect], window: Window) -> bool:
        """Send a session from further back; return whether central has a verdict on it.

        Then central does not fail on all, but on the suspects. A session, because an answer must
        not overtake its own: the newest one, and after failed passes one from in between.
        """
        above = max(suspect.event.position for suspect in suspects)
        share = 1.0 if self.failures % 2 == 0 else self.failures * _GOLDEN_RATIO % 1
        sample = await self._last_session(above, int((window.last_position - above) * share))
        if sample is None:
            return False
        result = await self._send(sample)
        await self._await_settle()
        return _has_passed(result)

    async def _is_quiet(self, stopped: WindowResult) -> bool:
        """Return whether the suspects have failed for minutes, and hardly another session waits.

        Then only a request without effect shows that central does not fail on all.
        """
        if self.failures < MANY_FAILURES or not stopped.is_central_up:
            return False
        suspects = stopped.suspects
        later = await self.outbox.next_window(SAMPLE, after=suspects[-1].event.position)
        sessions = len(suspects) + sum(map(_is_sound_session, later.events))
        return sessions <= FEW_SESSIONS and len(later.events) < SAMPLE.events

    async def _last_session(self, above: int, distance: int) -> Window | None:
        """Return one of the last pending sessions within `distance` above a position."""
        back = SAMPLE.events
        while True:
            after = above + max(distance - back, 0)
            found = await self.outbox.next_window(SAMPLE, after=after)
            if sessions := [event for event in found.events if _is_sound_session(event)]:
                return replace(found, events=sessions[-1:])
            if after == above:
                return None
            back *= 2

    async def _defer(self, stopped: WindowResult, window: Window, *, others_passed: bool) -> None:
        """Settle the suspects of a stopped window; those in doubt after any try of it remain so."""
        suspects = stopped.suspects
        events = [suspect.event for suspect in suspects]
        results = [
            EventResult(one.event, one.own_verdict(others_passed=others_passed)) for one in suspects
        ]
        in_doubt = {event.position for event in stopped.doubtful}
        doubtful = [event for event in events if event.position in in_doubt]
        await self.outbox.settle(replace(window, events=events), results, doubtful)
        self.report.add(results)

    async def _correct(self, window: Window, correction: Rewind | Renumber) -> int | None:
        """Apply a correction of the sequence numbers; return 0, or None if it changed nothing."""
        self.report.corrections += 1
        if self.report.corrections <= MAX_CORRECTIONS:
            match correction:
                case Renumber(after_sequence):
                    if await self.outbox.renumber(window.epoch, after_sequence):
                        return 0
                case Rewind(expected):
                    is_rewound = await self.outbox.rewind(window.epoch, expected)
                    # A heartbeat may have rewound the outbox since the window was read.
                    if is_rewound or expected < window.events[0].sequence:
                        return 0
        self.report.stop = _DISAGREEMENT
        return None

    def _start_settle(self, window: Window, result: WindowResult) -> None:
        settle = self.outbox.settle(window, result.results, result.doubtful)
        self.pending_settle = asyncio.ensure_future(settle)

    async def _await_settle(self) -> None:
        """Wait until the previous window's settle is on the disk; raise its error."""
        if self.pending_settle is None:
            return
        # Unlike a bare await, `wait` does not cancel the settle with the pass: see
        # `_flush_settle`.
        await asyncio.wait([self.pending_settle])
        settle, self.pending_settle = self.pending_settle, None
        settle.result()

    async def _flush_settle(self) -> None:
        """Wait for the pending settle, best effort, within FLUSH_SECONDS."""
        settle, self.pending_settle = self.pending_settle, None
        if settle is not None:
            with contextlib.suppress(OutboxUnavailable, TimeoutError):
                await asyncio.wait_for(settle, FLUSH_SECONDS)

    def _limits(self) -> BatchLimits:
        return PROBE if self.probing else self.transport.limits


def _is_sound_session(event: OutboxEvent) -> bool:
    return event.type is EventType.SESSION_STARTED and event.damage is None


def _has_passed(result: WindowResult) -> bool:
    """Return whether central has a verdict on any event."""
    return any(isinstance(one.verdict, (Delivered, Refused)) for one in result.results)


def _is_all_delivered(window: Window, result: WindowResult) -> bool:
    delivered = sum(isinstance(one.verdict, Delivered) for one in result.results)
    return delivered == len(window.events)
