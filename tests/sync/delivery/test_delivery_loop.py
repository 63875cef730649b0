"""The delivery loop: times of passes, and the reported status."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from sync.delivery import delivery_loop
from sync.delivery.backoff import Backoff
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.delivery_status import DeliveryStatus, LoopState
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window
from sync.delivery.outcomes import Blocked, BlockedReason, Delivered, FailureCause, RetryLater, Stop
from sync.delivery.throttle import Throttle
from sync.delivery.transport import WindowResult
from tests.support.models.fake_outbox import FakeOutbox
from tests.support.patience import PATIENCE_SECONDS

LONG = 3_600.0
DOWN = RetryLater(FailureCause.NO_RESPONSE, "silence")
BLOCKED = Blocked(BlockedReason.UNAUTHORIZED, "the token is not accepted", 401)


class WatchedOutbox(FakeOutbox):
    """The contract-tested fake, with an event for being empty."""

    def __init__(self, sessions: int = 0) -> None:
        super().__init__()
        self.empty = asyncio.Event()
        self.capture(sessions)

    def capture(self, sessions: int = 1) -> None:
        for _ in range(sessions):
            self.capture_session()
        self.empty.clear()

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        await super().settle(window, results, doubtful)
        if not self.waiting:
            self.empty.set()

    async def is_empty(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.empty.wait()


class Central:
    """Accepts everything, or stops with `stop`; signals each attempt."""

    limits = BatchLimits(10, 2**20)
    is_idempotent = True

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self.fault: Exception | None = None
        self.on_send: Callable[[], None] = lambda: None
        self.windows: list[int] = []
        self._sent = asyncio.Event()

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        self.windows.append(len(window.events))
        self._sent.set()
        self.on_send()
        if self.fault:
            raise self.fault
        if self.stop is not None:
            return WindowResult([], stop=self.stop)
        return WindowResult([EventResult(one, Delivered()) for one in window.events])

    async def sent(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._sent.wait()
        self._sent.clear()


class Watch:
    """Collects statuses; waits for a state."""

    def __init__(self) -> None:
        self.seen: list[DeliveryStatus] = []
        self._news = asyncio.Event()

    def __call__(self, status: DeliveryStatus) -> None:
        self.seen.append(status)
        self._news.set()

    async def wait_for(self, state: LoopState) -> DeliveryStatus:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for status in self.seen:
                    if status.state is state:
                        return status
                self._news.clear()
                await self._news.wait()


@pytest.fixture(autouse=True)
def no_debounce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the next pass without a pause."""
    monkeypatch.setattr(delivery_loop, "DEBOUNCE_SECONDS", 0)


@asynccontextmanager
async def running_loop(
    outbox: WatchedOutbox,
    central: Central,
    watch: Watch,
    *,
    wait_seconds: float = LONG,
    is_quiet: Callable[[], bool] = lambda: False,
    passed: asyncio.Event | None = None,
    failure: OutboxUnavailable | None = None,
    throttle: Throttle | None = None,
) -> AsyncIterator[DeliveryLoop]:
    async def after_pass() -> None:
        if passed is not None:
            passed.set()
        if failure is not None:
            raise failure

    loop = DeliveryLoop(
        outbox,
        central,
        throttle or Throttle(),
        Backoff(wait_seconds, wait_seconds, slot=0.0, random=lambda: 1.0),
        after_pass=after_pass,
        on_state_change=watch,
        is_quiet=is_quiet,
    )
    task = asyncio.ensure_future(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_pending_events_are_delivered_at_startup() -> None:
    outbox, central = WatchedOutbox(25), Central()
    async with running_loop(outbox, central, Watch()):
        await outbox.is_empty()
    assert central.windows == [10, 10, 5]


async def test_wake_sends_a_capture() -> None:
    outbox, central = WatchedOutbox(), Central()
    async with running_loop(outbox, central, Watch()) as loop:
        outbox.capture()
        loop.wake()
        await outbox.is_empty()


async def test_capture_during_a_pass_starts_another_pass() -> None:
    outbox, central = WatchedOutbox(1), Central()
    async with running_loop(outbox, central, Watch()) as loop:
        await central.sent()
        outbox.capture()
        loop.wake()
        await outbox.is_empty()


async def test_captures_do_not_bypass_the_backoff() -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    central.stop = DOWN
    async with running_loop(outbox, central, watch) as loop:
        status = await watch.wait_for(LoopState.RETRYING)
        for _ in range(100):
            loop.wake()
            await asyncio.sleep(0)
        assert len(central.windows) == 1
    assert (status.cause, status.failures) == ("no response", 1)
    assert status.next_try_at is not None


@pytest.mark.parametrize("fault", [None, ZeroDivisionError()])
async def test_captures_during_a_failing_pass_do_not_bypass_the_backoff(
    fault: Exception | None,
) -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    central.stop, central.fault = DOWN, fault
    async with running_loop(outbox, central, watch) as loop:
        central.on_send = loop.wake
        await watch.wait_for(LoopState.RETRYING)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(central.windows) == 1


async def test_try_now_during_a_failing_pass_starts_another_at_once() -> None:
    outbox, central = WatchedOutbox(1), Central()
    central.stop = DOWN
    async with running_loop(outbox, central, Watch()) as loop:

        def accept_all() -> None:
            central.stop = None

        def retry() -> None:
            central.on_send = accept_all
            loop.try_now()

        central.on_send = retry
        await outbox.is_empty()


async def test_failures_accumulate_across_passes_until_a_success() -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    central.stop = DOWN
    async with running_loop(outbox, central, watch, wait_seconds=0.001) as loop:
        while loop.status.failures < 3:
            await central.sent()
        central.stop = None
        await outbox.is_empty()
        await watch.wait_for(LoopState.IDLE)
        assert loop.status.failures == 0


async def test_first_window_after_a_failure_is_a_probe() -> None:
    outbox, central, watch = WatchedOutbox(12), Central(), Watch()
    central.stop = DOWN
    async with running_loop(outbox, central, watch, wait_seconds=0.001):
        await watch.wait_for(LoopState.RETRYING)
        central.stop = None
        await outbox.is_empty()
    begun = central.windows.index(1)
    assert central.windows[0] == 10
    assert central.windows[begun:][-3:] == [1, 10, 1]


async def test_refused_caller_keeps_the_outbox_and_is_retried() -> None:
    outbox, central, watch = WatchedOutbox(3), Central(), Watch()
    central.stop = BLOCKED
    async with running_loop(outbox, central, watch, wait_seconds=0.001):
        status = await watch.wait_for(LoopState.HOLDING)
        assert len(outbox.waiting) == 3
        central.stop = None
        await outbox.is_empty()
    assert (status.cause, status.http_status) == ("unauthorized", 401)


async def test_try_now_overrides_the_backoff() -> None:
    outbox, central, watch = WatchedOutbox(3), Central(), Watch()
    central.stop = DOWN
    async with running_loop(outbox, central, watch) as loop:
        await watch.wait_for(LoopState.RETRYING)
        central.stop = None
        loop.try_now()
        await outbox.is_empty()


async def test_state_stays_retrying_until_a_success() -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    central.stop = DOWN
    async with running_loop(outbox, central, watch, wait_seconds=0.001):
        for _ in range(5):
            await central.sent()
    assert [status.state for status in watch.seen] == [LoopState.RETRYING]


@pytest.mark.parametrize("failing", ["storage", "fault"])
async def test_local_failures_do_not_grow_the_backoff(failing: str) -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    if failing == "storage":
        outbox.unavailable = "the disk is gone"
    else:
        central.fault = ZeroDivisionError()
    async with running_loop(outbox, central, watch) as loop:
        status = await watch.wait_for(LoopState.RETRYING)
        assert (status.cause, status.failures) == (
            ("storage", 0) if failing == "storage" else ("internal error", 0)
        )
        assert (loop.totals.passes, loop.totals.failed_passes) == (1, 1)
        outbox.unavailable, central.fault = None, None
        loop.try_now()
        await outbox.is_empty()


async def test_try_now_cuts_a_bandwidth_pause_short() -> None:
    outbox, central, begun = WatchedOutbox(1), Central(), asyncio.Event()

    async def wait(seconds: float) -> None:
        begun.set()
        await asyncio.sleep(seconds * LONG)

    async with running_loop(outbox, central, Watch(), throttle=Throttle(1, wait)) as loop:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await begun.wait()
        outbox.capture()
        loop.try_now()
        await outbox.is_empty()


async def test_quiet_hours_send_nothing_except_on_try_now() -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    async with running_loop(outbox, central, watch, is_quiet=lambda: True) as loop:
        await watch.wait_for(LoopState.QUIET)
        assert not central.windows
        loop.try_now()
        await outbox.is_empty()


async def test_quiet_hours_keep_the_time_of_the_last_delivery() -> None:
    outbox, central, watch, passed = WatchedOutbox(1), Central(), Watch(), asyncio.Event()
    hours: list[str] = []
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running_loop(outbox, central, watch, is_quiet=lambda: bool(hours), passed=passed) as loop,
    ):
        await passed.wait()
        delivered_at = loop.status.last_success_at
        hours.append("begun")
        loop.wake()
        quiet = await watch.wait_for(LoopState.QUIET)
        hours.clear()
        loop.wake()
        idle = await watch.wait_for(LoopState.IDLE)
    assert delivered_at is not None
    assert (quiet.last_success_at, idle.last_success_at) == (delivered_at, delivered_at)


async def test_quiet_hours_keep_the_blocked_state() -> None:
    outbox, central, watch, asked = WatchedOutbox(1), Central(), Watch(), asyncio.Event()
    central.stop = BLOCKED

    def is_quiet() -> bool:
        if central.windows:
            asked.set()
        return bool(central.windows)

    async with running_loop(outbox, central, watch, wait_seconds=0.001, is_quiet=is_quiet) as loop:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asked.wait()
        assert loop.status.state is LoopState.HOLDING
    assert len(central.windows) == 1


async def test_state_changes_to_delivering_on_the_first_success_of_a_pass() -> None:
    outbox, central, watch = WatchedOutbox(1), Central(), Watch()
    outbox.unavailable = "the disk is gone"
    async with running_loop(outbox, central, watch) as loop:
        await watch.wait_for(LoopState.RETRYING)
        outbox.unavailable = None
        outbox.capture(19)
        states: list[LoopState] = []
        central.on_send = lambda: states.append(loop.status.state)
        loop.try_now()
        await outbox.is_empty()
    assert states == [LoopState.RETRYING, LoopState.DELIVERING]


async def test_storage_failure_after_a_pass_keeps_the_retry_after_and_its_cause() -> None:
    outbox, central, watch, passed = WatchedOutbox(1), Central(), Watch(), asyncio.Event()
    central.stop = RetryLater(FailureCause.OVERLOADED, "answered 429", LONG, 429)
    unavailable = OutboxUnavailable("the disk is full")
    async with running_loop(outbox, central, watch, passed=passed, failure=unavailable) as loop:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await passed.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        next_try_at = loop.status.next_try_at
        assert next_try_at is not None
        assert next_try_at - asyncio.get_running_loop().time() > LONG / 2
        assert (loop.status.cause, loop.totals.passes) == ("head office is overloaded", 1)


async def test_quiet_hours_end_a_running_pass_after_its_window_except_on_try_now() -> None:
    outbox, central, watch = WatchedOutbox(25), Central(), Watch()
    hours: list[str] = []
    central.on_send = lambda: hours.append("begun") if len(central.windows) == 2 else None
    async with running_loop(outbox, central, watch, is_quiet=lambda: bool(hours)) as loop:
        await watch.wait_for(LoopState.QUIET)
        assert (central.windows, len(outbox.waiting)) == ([10, 10], 5)
        outbox.capture(20)
        loop.try_now()
        await outbox.is_empty()
    assert central.windows == [10, 10, 10, 10, 5]


class TestHeartbeatResult:
    """Heartbeat results set the state as long as passes have none of their own."""

    async def test_refused_heartbeat_blocks_until_one_is_accepted(self) -> None:
        watch = Watch()
        async with running_loop(WatchedOutbox(), Central(), watch) as loop:
            loop.on_heartbeat_result(BLOCKED)
            held = loop.status
            loop.on_heartbeat_result(None)
        assert (held.state, held.cause, held.http_status) == (
            LoopState.HOLDING,
            "unauthorized",
            401,
        )
        assert [status.state for status in watch.seen] == [LoopState.HOLDING, LoopState.IDLE]

    async def test_pass_without_events_keeps_the_blocked_state(self) -> None:
        watch, passed = Watch(), asyncio.Event()
        async with running_loop(WatchedOutbox(), Central(), watch, passed=passed) as loop:
            loop.on_heartbeat_result(BLOCKED)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await passed.wait()
            assert loop.status.state is LoopState.HOLDING
        assert len(watch.seen) == 1

    async def test_delivered_events_clear_the_blocked_state(self) -> None:
        outbox, watch = WatchedOutbox(1), Watch()
        async with running_loop(outbox, Central(), watch) as loop:
            loop.on_heartbeat_result(BLOCKED)
            status = await watch.wait_for(LoopState.IDLE)
        assert status.cause is None

    async def test_failure_of_a_pass_has_priority_over_a_refused_heartbeat(self) -> None:
        central, watch = Central(), Watch()
        central.stop = DOWN
        async with running_loop(WatchedOutbox(1), central, watch) as loop:
            await watch.wait_for(LoopState.RETRYING)
            loop.on_heartbeat_result(BLOCKED)
            assert loop.status.state is LoopState.RETRYING
