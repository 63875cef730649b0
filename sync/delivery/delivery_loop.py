"""Runs delivery passes one at a time: after a capture, at intervals, after a backoff.

Invariants: a wake-up during a pass is kept and starts the next pass, so no capture is left
until the following wake-up. After a failure, only the end of the backoff or an explicit
`try_now` starts a pass. Waits use the monotonic clock; setting the wall clock has no effect.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sync.delivery.backoff import Backoff
from sync.delivery.delivery_pass import DeliveryPass, PassReport
from sync.delivery.delivery_status import DeliveryStatus, LoopState, PassTotals, failure_status
from sync.delivery.outbox import Outbox, OutboxUnavailable
from sync.delivery.outcomes import Blocked
from sync.delivery.throttle import Throttle
from sync.delivery.transport import Transport

_log = logging.getLogger(__name__)
# A capture is sent at once; captures within this time after a pass share the next pass.
DEBOUNCE_SECONDS = 0.2
_LOCAL_RETRY_SECONDS = 5.0


class DeliveryLoop:
    """Delivers the outbox to central while `run` runs. Not thread-safe; event loop only."""

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        throttle: Throttle,
        backoff: Backoff,
        *,
        after_pass: Callable[[], Awaitable[None]],
        on_state_change: Callable[[DeliveryStatus], None],
        is_quiet: Callable[[], bool] = lambda: False,
    ) -> None:
        """Call `on_state_change` when the state or its cause changes; obey quiet hours."""
        self._outbox = outbox
        self._transport = transport
        self._throttle = throttle
        self._backoff = backoff
        self._after_pass = after_pass
        self._on_state_change = on_state_change
        self._is_quiet = is_quiet
        self._loop = asyncio.get_running_loop()
        self._wake_up = asyncio.Event()
        self._is_forced = False
        self._not_before = 0.0
        self._backoff_timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self._pass_status = self._reported = DeliveryStatus(LoopState.IDLE)
        self._last_success_at: float | None = None
        self._heartbeat_refusal: Blocked | None = None
        self.totals = PassTotals()

    @property
    def status(self) -> DeliveryStatus:
        """Current status; a refused heartbeat counts unless a pass failed for its own cause."""
        status = self._pass_status
        if self._heartbeat_refusal is not None and status.cause is None:
            status = failure_status(self._heartbeat_refusal)
        return replace(status, last_success_at=self._last_success_at)

    def on_heartbeat_result(self, refusal: Blocked | None) -> None:
        """Record a heartbeat's result: central refuses this agent (`Blocked`) or not (None)."""
        self._heartbeat_refusal = refusal
        self._report_change()

    def wake(self) -> None:
        """Start a pass soon: events may be pending. No effect during a backoff."""
        if self._loop.time() >= self._not_before:
            self._wake_up.set()

    def notify_capture(self) -> None:
        """Start a pass for a new capture, and slow a backlog down: tills have priority."""
        self._throttle.yield_to_tills()
        self.wake()

    def try_now(self, *, at_full_speed: bool = False) -> None:
        """Start a pass now, despite backoff and quiet hours; `at_full_speed` without pauses."""
        self._is_forced = True
        self._not_before = 0.0
        if at_full_speed:
            self._throttle.is_full_speed = True
        self._throttle.end_pause()
        self._wake_up.set()

    async def run(self) -> None:
        """Run passes until cancelled; a window in flight is resent after the next start."""
        self.wake()
        while True:
            await self._wake_up.wait()
            self._wake_up.clear()
            is_forced, self._is_forced = self._is_forced, False
            if self._is_quiet() and not is_forced:
                # A blocked delivery stays visible in quiet hours: it is an alarm.
                if self._pass_status.state is not LoopState.HOLDING:
                    self._set_status(DeliveryStatus(LoopState.QUIET))
                continue
            await self._run_pass(is_forced=is_forced)
            await asyncio.sleep(DEBOUNCE_SECONDS)

    async def _run_pass(self, *, is_forced: bool) -> None:
        if self._pass_status.state not in {LoopState.RETRYING, LoopState.HOLDING}:
            # After a failure the state changes only on the first success.
            self._pass_status = DeliveryStatus(LoopState.DELIVERING)
        try:
            one_pass = DeliveryPass(
                self._outbox,
                self._transport,
                self._throttle,
                probing=self._failures > 0,
                failures=self._failures,
                on_progress=self._on_progress,
                may_continue=lambda: is_forced or self._may_continue(),
            )
            self._on_report(await one_pass.run())
            # Housekeeping that fails now is repeated after the next pass.
            with contextlib.suppress(OutboxUnavailable):
                await self._after_pass()
        except OutboxUnavailable as unavailable:
            self._on_local_failure("storage", str(unavailable))
        except Exception as error:  # noqa: BLE001 - an internal error must not end delivery
            _log.exception("delivery.pass_failed")
            self._on_local_failure("internal error", type(error).__name__)
        finally:
            if not self._is_forced:
                self._throttle.is_full_speed = False

    def _may_continue(self) -> bool:
        """Return whether the pass may send its next window: quiet hours may have begun."""
        if self._is_forced or not self._is_quiet():
            return True
        self._wake_up.set()
        return False

    def _on_progress(self, report: PassReport) -> None:
        if report.made_progress and self._pass_status.state is not LoopState.DELIVERING:
            self._pass_status = DeliveryStatus(LoopState.DELIVERING)
            self._last_success_at = self._loop.time()

    def _on_report(self, report: PassReport) -> None:
        self.totals.add(report)
        if report.made_progress:
            self._heartbeat_refusal = None
            self._last_success_at = self._loop.time()
        if report.made_progress or report.stop is None:
            self._failures = 0
        if report.stop is None:
            self._set_status(DeliveryStatus(LoopState.IDLE))
            return
        self._failures += 1
        wait_seconds = self._backoff.wait_seconds(self._failures, report.stop)
        self._fail(failure_status(report.stop), wait_seconds)

    def _on_local_failure(self, cause: str, detail: str) -> None:
        """Retry soon after a failure on this machine, without growing the backoff."""
        self.totals.passes += 1
        self.totals.failed_passes += 1
        self._fail(DeliveryStatus(LoopState.RETRYING, cause, detail), _LOCAL_RETRY_SECONDS)

    def _fail(self, status: DeliveryStatus, wait_seconds: float) -> None:
        """Start the backoff and discard wake-ups from the pass; a `try_now` still counts."""
        if not self._is_forced:
            self._wake_up.clear()
            self._not_before = self._loop.time() + wait_seconds
            if self._backoff_timer is not None:
                self._backoff_timer.cancel()
            self._backoff_timer = self._loop.call_later(wait_seconds, self._end_backoff)
        self._set_status(replace(status, failures=self._failures, next_try_at=self._not_before))

    def _end_backoff(self) -> None:
        self._not_before = 0.0
        self._wake_up.set()

    def _set_status(self, status: DeliveryStatus) -> None:
        self._pass_status = status
        self._report_change()

    def _report_change(self) -> None:
        before, self._reported = self._reported, self.status
        if (before.state, before.cause) != (self._reported.state, self._reported.cause):
            self._on_state_change(self._reported)
