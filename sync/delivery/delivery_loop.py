"""Runs delivery passes one at a time: after a capture, at intervals, after a backoff.

Invariants: a wake-up during a pass is kept and starts the next pass, so no capture is left
until the following wake-up. After a failure, only the end of the backoff or an explicit
`try_now` starts a pass. Waits use the monotonic clock; setting the wall clock has no effect.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sync.delivery.backoff import Backoff, BackoffRules
from sync.delivery.outbox import Outbox, OutboxUnavailable
from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.push import PassReport, push_once
from sync.delivery.throttle import Throttle
from sync.delivery.transport import Transport

_log = logging.getLogger(__name__)
# A capture is sent at once; captures within this time after a pass share the next pass.
DEBOUNCE_SECONDS = 0.2
_LOCAL_RETRY_SECONDS = 5.0


class DeliveryState(StrEnum):
    """State of delivery to central."""

    IDLE = "idle"
    DELIVERING = "delivering"
    QUIET = "quiet hours"
    RETRYING = "retrying"
    HOLDING = "holding"


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """Snapshot of the delivery loop.

    `cause` is the cause of `RETRYING` and `HOLDING`, `detail` its text. `next_try_at` and
    `last_success_at` (last success) are monotonic seconds.
    """

    state: DeliveryState
    cause: str | None = None
    detail: str | None = None
    http_status: int | None = None
    failures: int = 0
    next_try_at: float | None = None
    last_success_at: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """Timing rules. `random` returns a random number, 0 to 1; `is_quiet`: quiet hours now."""

    retry: BackoffRules
    random: Callable[[], float]
    is_quiet: Callable[[], bool] = lambda: False
    debounce_seconds: float = DEBOUNCE_SECONDS


class Totals:
    """Counters over all passes since the start, for metrics."""

    def __init__(self) -> None:
        self.passes = 0
        self.failed_passes = 0
        self.delivered = 0
        self.assumed = 0
        self.refused = 0

    def add(self, report: PassReport) -> None:
        """Add a finished pass."""
        self.passes += 1
        self.failed_passes += report.stop is not None
        self.delivered += report.delivered
        self.assumed += report.assumed
        self.refused += report.refused


class DeliveryLoop:
    """Delivers the outbox to central while `run` runs. Not thread-safe; event loop only."""

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        throttle: Throttle,
        rules: DeliveryRules,
        *,
        after_pass: Callable[[], Awaitable[None]],
        on_state_change: Callable[[DeliveryStatus], None],
    ) -> None:
        """Call `on_state_change` when the state or its cause changes."""
        self._outbox = outbox
        self._transport = transport
        self._throttle = throttle
        self._rules = rules
        self._after_pass = after_pass
        self._on_state_change = on_state_change
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._urged = False
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._backoff = Backoff()
        self._own = self._noted = DeliveryStatus(DeliveryState.IDLE)
        self._held: Blocked | None = None
        self.totals = Totals()

    @property
    def status(self) -> DeliveryStatus:
        """Current status; a refused heartbeat counts unless a pass failed for its own cause."""
        if self._held is None or self._own.cause is not None:
            return self._own
        return _held(self._held, self._own)

    def on_heartbeat_result(self, refusal: Blocked | None) -> None:
        """Record a heartbeat's result: central refuses this agent (`Blocked`) or not (None)."""
        self._held = refusal
        self._tell()

    def wake(self) -> None:
        """Start a pass soon: events may be pending. No effect during a backoff."""
        if self._loop.time() >= self._not_before:
            self._due.set()

    def notify_capture(self) -> None:
        """Start a pass for a new capture, and slow a backlog down: tills have priority."""
        self._throttle.yield_to_tills()
        self.wake()

    def try_now(self, *, at_full_speed: bool = False) -> None:
        """Start a pass now, despite backoff and quiet hours; `at_full_speed` without pauses."""
        self._urged = True
        self._not_before = 0.0
        if at_full_speed:
            self._throttle.skip_pauses()
        self._throttle.end_pause()
        self._due.set()

    async def run(self) -> None:
        """Run passes until cancelled; a window in flight is resent after the next start."""
        self.wake()
        while True:
            await self._due.wait()
            self._due.clear()
            urged, self._urged = self._urged, False
            if self._rules.is_quiet() and not urged:
                self._rest()
                continue
            await self._pass_once(urged=urged)
            await asyncio.sleep(self._rules.debounce_seconds)

    def _rest(self) -> None:
        """Show quiet hours as the state, unless delivery is blocked: that alarm stays."""
        if self._own.state is not DeliveryState.HOLDING:
            self._note(
                DeliveryStatus(DeliveryState.QUIET, last_success_at=self._own.last_success_at)
            )

    async def _pass_once(self, *, urged: bool) -> None:
        self._own = _delivering(self._own)
        try:
            report = await push_once(
                self._outbox,
                self._transport,
                self._throttle.pause,
                probing=self._backoff.is_probing,
                on_progress=self._on_progress,
                may_continue=lambda: urged or self._may_go_on(),
            )
            self._after(report)
            # Housekeeping that fails now is repeated after the next pass.
            with contextlib.suppress(OutboxUnavailable):
                await self._after_pass()
        except OutboxUnavailable as unavailable:
            self._stumbled("storage", str(unavailable))
        except Exception as error:  # noqa: BLE001 - such a fault must not end delivery
            _log.exception("relay.failed")
            self._stumbled("a fault of this program", type(error).__name__)
        finally:
            if not self._urged:
                self._throttle.resume_pacing()

    def _may_go_on(self) -> bool:
        """Return whether the pass may send its next window: quiet hours may have begun."""
        if self._urged or not self._rules.is_quiet():
            return True
        self._due.set()
        return False

    def _after(self, report: PassReport) -> None:
        self.totals.add(report)
        if report.made_progress or report.stop is None:
            self._backoff = Backoff()
        if report.made_progress:
            self._held = None
        last_success_at = self._loop.time() if report.made_progress else self._own.last_success_at
        if report.stop is None:
            self._note(DeliveryStatus(DeliveryState.IDLE, last_success_at=last_success_at))
            return
        self._backoff = self._backoff.failed()
        rules = self._rules
        self._try_after(self._backoff.wait_seconds(report.stop, rules.retry, rules.random))
        state, cause = _named(report.stop)
        self._note(
            DeliveryStatus(
                state,
                cause=cause,
                detail=report.stop.detail,
                http_status=report.stop.http_status,
                failures=self._backoff.failures,
                next_try_at=self._not_before,
                last_success_at=last_success_at,
            )
        )

    def _stumbled(self, cause: str, detail: str) -> None:
        """Retry soon after a local failure, without growing the backoff."""
        self.totals.passes += 1
        self.totals.failed_passes += 1
        self._try_after(_LOCAL_RETRY_SECONDS)
        self._note(
            DeliveryStatus(
                DeliveryState.RETRYING,
                cause,
                detail,
                failures=self._backoff.failures,
                next_try_at=self._not_before,
                last_success_at=self._own.last_success_at,
            )
        )

    def _on_progress(self, report: PassReport) -> None:
        if report.made_progress and self._own.state is not DeliveryState.DELIVERING:
            self._own = DeliveryStatus(DeliveryState.DELIVERING, last_success_at=self._loop.time())

    def _try_after(self, seconds: float) -> None:
        """Start the backoff and discard wake-ups from the pass; a `try_now` still counts."""
        if self._urged:
            return
        self._due.clear()
        self._not_before = self._loop.time() + seconds
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._wait_is_over)

    def _wait_is_over(self) -> None:
        self._not_before = 0.0
        self._due.set()

    def _note(self, status: DeliveryStatus) -> None:
        self._own = status
        self._tell()

    def _tell(self) -> None:
        before, self._noted = self._noted, self.status
        if (before.state, before.cause) != (self._noted.state, self._noted.cause):
            self._on_state_change(self._noted)


def _held(hold: Blocked, own: DeliveryStatus) -> DeliveryStatus:
    return DeliveryStatus(
        DeliveryState.HOLDING,
        cause=hold.reason.value,
        detail=hold.detail,
        http_status=hold.http_status,
        last_success_at=own.last_success_at,
    )


def _delivering(before: DeliveryStatus) -> DeliveryStatus:
    """Return the status during a pass; after a failure it changes only on the first success."""
    if before.state in {DeliveryState.RETRYING, DeliveryState.HOLDING}:
        return before
    return DeliveryStatus(DeliveryState.DELIVERING, last_success_at=before.last_success_at)


def _named(stop: Blocked | RetryLater) -> tuple[DeliveryState, str]:
    match stop:
        case Blocked(reason):
            return DeliveryState.HOLDING, reason.value
        case RetryLater(cause):
            return DeliveryState.RETRYING, cause.value
        case _:
            assert_never(stop)
