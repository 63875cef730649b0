"""The delivery loop: times of passes, and the reported status."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from sync.delivery.backoff import BackoffRules
from sync.delivery.delivery_loop import DeliveryLoop, DeliveryRules
from sync.delivery.delivery_status import DeliveryState, DeliveryStatus
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window
from sync.delivery.outcomes import Blocked, BlockedReason, Delivered, FailureCause, RetryLater, Stop
from sync.delivery.throttle import Throttle
from sync.delivery.transport import WindowResult
from sync.protocol.wire import EventType

LONG = 3_600.0
DOWN = RetryLater(FailureCause.NO_RESPONSE, "silence")
HELD = Blocked(BlockedReason.UNAUTHORIZED, "the token is not accepted", 401)


def event(position: int) -> OutboxEvent:
    kind = EventType.SESSION_STARTED
    return OutboxEvent(position, position, kind, position, str(position), 0, 0, "", None, b"{}")


class Queue:
    """An outbox of numbered events, in memory."""

    def __init__(self, count: int = 0) -> None:
        self.waiting = [event(position) for position in range(1, count + 1)]
        self.cause: OutboxUnavailable | None = None
        self.empty = asyncio.Event()

    def add(self) -> None:
        self.empty.clear()
        self.waiting.append(event(max([e.position for e in self.waiting], default=0) + 1))

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        if self.cause:
            raise self.cause
        events = [one for one in self.waiting if one.position > after]
        return Window("epoch", 1, events[: limits.events])

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        return Window("epoch", 1, [])

    async def record_attempt(self, window: Window) -> None: ...

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: object = ()
    ) -> None:
        done = {one.event.position for one in results}
        self.waiting = [one for one in self.waiting if one.position not in done]
        if not self.waiting:
            self.empty.set()

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        return False

    async def renumber(self, epoch: str, after_sequence: int) -> None: ...


class Central:
    """Accepts everything, or stops with `says`; signals each attempt."""

    limits = BatchLimits(10, 1_000)
    is_idempotent = True

    def __init__(self) -> None:
        self.says: Stop | None = None
        self.fault: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.windows: list[int] = []
        self.tried = asyncio.Event()

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        self.windows.append(len(window.events))
        self.tried.set()
        self.meanwhile()
        if self.fault:
            raise self.fault
        if self.says is not None:
            return WindowResult([], stop=self.says)
        return WindowResult([EventResult(one, Delivered()) for one in window.events])

    async def is_tried(self) -> None:
        async with asyncio.timeout(5):
            await self.tried.wait()
        self.tried.clear()


class Watch:
    """Collects statuses; waits for a state."""

    def __init__(self) -> None:
        self.seen: list[DeliveryStatus] = []
        self._news = asyncio.Event()

    def __call__(self, status: DeliveryStatus) -> None:
        self.seen.append(status)
        self._news.set()

    async def sees(self, state: DeliveryState) -> DeliveryStatus:
        async with asyncio.timeout(5):
            while True:
                for status in self.seen:
                    if status.state is state:
                        return status
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def relaying(
    queue: Queue,
    central: Central,
    watch: Watch,
    *,
    wait_seconds: float = LONG,
    is_quiet: Callable[[], bool] = lambda: False,
    tidied: asyncio.Event | None = None,
    untidy: OutboxUnavailable | None = None,
    throttle: Throttle | None = None,
) -> AsyncIterator[DeliveryLoop]:
    async def tidy() -> None:
        if tidied is not None:
            tidied.set()
        if untidy is not None:
            raise untidy

    rules = DeliveryRules(
        BackoffRules(wait_seconds, wait_seconds, slot=0.0),
        random=lambda: 1.0,
        is_quiet=is_quiet,
        debounce_seconds=0,
    )
    relay = DeliveryLoop(
        queue, central, throttle or Throttle(), rules, after_pass=tidy, on_state_change=watch
    )
    task = asyncio.ensure_future(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait([task])


async def is_empty(queue: Queue) -> None:
    async with asyncio.timeout(5):
        await queue.empty.wait()


async def test_pending_events_are_delivered_at_startup() -> None:
    queue, central = Queue(25), Central()
    async with relaying(queue, central, Watch()):
        await is_empty(queue)
    assert central.windows == [10, 10, 5]


async def test_wake_sends_a_capture() -> None:
    queue, central = Queue(), Central()
    async with relaying(queue, central, Watch()) as relay:
        queue.add()
        relay.wake()
        await is_empty(queue)


async def test_capture_during_a_pass_starts_another_pass() -> None:
    queue, central = Queue(1), Central()
    async with relaying(queue, central, Watch()) as relay:
        await central.is_tried()
        queue.add()
        relay.wake()
        await is_empty(queue)


async def test_captures_do_not_bypass_the_backoff() -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    central.says = DOWN
    async with relaying(queue, central, watch) as relay:
        status = await watch.sees(DeliveryState.RETRYING)
        for _ in range(100):
            relay.wake()
            await asyncio.sleep(0)
        assert len(central.windows) == 1
    assert (status.cause, status.failures) == ("no response", 1)
    assert status.next_try_at is not None


@pytest.mark.parametrize("fault", [None, ZeroDivisionError()])
async def test_captures_during_a_failing_pass_do_not_bypass_the_backoff(
    fault: Exception | None,
) -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    central.says, central.fault = DOWN, fault
    async with relaying(queue, central, watch) as relay:
        central.meanwhile = relay.wake
        await watch.sees(DeliveryState.RETRYING)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(central.windows) == 1


async def test_try_now_during_a_failing_pass_starts_another_at_once() -> None:
    queue, central = Queue(1), Central()
    central.says = DOWN
    async with relaying(queue, central, Watch()) as relay:

        def accept_all() -> None:
            central.says = None

        def ask() -> None:
            central.meanwhile = accept_all
            relay.try_now()

        central.meanwhile = ask
        await is_empty(queue)


async def test_failures_accumulate_across_passes_until_a_success() -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    central.says = DOWN
    async with relaying(queue, central, watch, wait_seconds=0.001) as relay:
        while relay.status.failures < 3:
            await central.is_tried()
        central.says = None
        await is_empty(queue)
        await watch.sees(DeliveryState.IDLE)
        assert relay.status.failures == 0


async def test_first_window_after_a_failure_is_a_probe() -> None:
    queue, central, watch = Queue(12), Central(), Watch()
    central.says = DOWN
    async with relaying(queue, central, watch, wait_seconds=0.001):
        await watch.sees(DeliveryState.RETRYING)
        central.says = None
        await is_empty(queue)
    begun = central.windows.index(1)
    assert central.windows[0] == 10
    assert central.windows[begun:][-3:] == [1, 10, 1]


async def test_refused_caller_keeps_the_outbox_and_is_retried() -> None:
    queue, central, watch = Queue(3), Central(), Watch()
    central.says = HELD
    async with relaying(queue, central, watch, wait_seconds=0.001):
        status = await watch.sees(DeliveryState.HOLDING)
        assert len(queue.waiting) == 3
        central.says = None
        await is_empty(queue)
    assert (status.cause, status.http_status) == ("unauthorized", 401)


async def test_try_now_overrides_the_backoff() -> None:
    queue, central, watch = Queue(3), Central(), Watch()
    central.says = DOWN
    async with relaying(queue, central, watch) as relay:
        await watch.sees(DeliveryState.RETRYING)
        central.says = None
        relay.try_now()
        await is_empty(queue)


async def test_state_stays_retrying_until_a_success() -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    central.says = DOWN
    async with relaying(queue, central, watch, wait_seconds=0.001):
        for _ in range(5):
            await central.is_tried()
    assert [status.state for status in watch.seen] == [DeliveryState.RETRYING]


@pytest.mark.parametrize("break_it", ["storage", "fault"])
async def test_local_failures_do_not_grow_the_backoff(break_it: str) -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    if break_it == "storage":
        queue.cause = OutboxUnavailable("the disk is gone")
    else:
        central.fault = ZeroDivisionError()
    async with relaying(queue, central, watch) as relay:
        status = await watch.sees(DeliveryState.RETRYING)
        assert (status.cause, status.failures) == (
            ("storage", 0) if break_it == "storage" else ("internal error", 0)
        )
        assert (relay.totals.passes, relay.totals.failed_passes) == (1, 1)
        queue.cause, central.fault = None, None
        relay.try_now()
        await is_empty(queue)


async def test_try_now_cuts_a_bandwidth_pause_short() -> None:
    queue, central, begun = Queue(1), Central(), asyncio.Event()

    async def wait(seconds: float) -> None:
        begun.set()
        await asyncio.sleep(seconds * LONG)

    async with relaying(queue, central, Watch(), throttle=Throttle(1, wait)) as relay:
        async with asyncio.timeout(5):
            await begun.wait()
        queue.add()
        relay.try_now()
        await is_empty(queue)


async def test_quiet_hours_send_nothing_except_on_try_now() -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    async with relaying(queue, central, watch, is_quiet=lambda: True) as relay:
        await watch.sees(DeliveryState.QUIET)
        assert not central.windows
        relay.try_now()
        await is_empty(queue)


async def test_quiet_hours_keep_the_time_of_the_last_delivery() -> None:
    queue, central, watch, tidied = Queue(1), Central(), Watch(), asyncio.Event()
    hours: list[str] = []
    async with (
        asyncio.timeout(5),
        relaying(queue, central, watch, is_quiet=lambda: bool(hours), tidied=tidied) as relay,
    ):
        await tidied.wait()
        delivered_at = relay.status.last_success_at
        hours.append("begun")
        relay.wake()
        quiet = await watch.sees(DeliveryState.QUIET)
        hours.clear()
        relay.wake()
        idle = await watch.sees(DeliveryState.IDLE)
    assert delivered_at is not None
    assert (quiet.last_success_at, idle.last_success_at) == (delivered_at, delivered_at)


async def test_quiet_hours_keep_the_blocked_state() -> None:
    queue, central, watch, asked = Queue(1), Central(), Watch(), asyncio.Event()
    central.says = HELD

    def is_quiet() -> bool:
        if central.windows:
            asked.set()
        return bool(central.windows)

    async with relaying(queue, central, watch, wait_seconds=0.001, is_quiet=is_quiet) as relay:
        async with asyncio.timeout(5):
            await asked.wait()
        assert relay.status.state is DeliveryState.HOLDING
    assert len(central.windows) == 1


async def test_state_changes_to_delivering_on_the_first_success_of_a_pass() -> None:
    queue, central, watch = Queue(1), Central(), Watch()
    queue.cause = OutboxUnavailable("the disk is gone")
    async with relaying(queue, central, watch) as relay:
        await watch.sees(DeliveryState.RETRYING)
        queue.cause, queue.waiting = None, [event(number) for number in range(1, 21)]
        states: list[DeliveryState] = []
        central.meanwhile = lambda: states.append(relay.status.state)
        relay.try_now()
        await is_empty(queue)
    assert states == [DeliveryState.RETRYING, DeliveryState.DELIVERING]


async def test_storage_failure_after_a_pass_keeps_the_retry_after_and_its_cause() -> None:
    queue, central, watch, tidied = Queue(1), Central(), Watch(), asyncio.Event()
    central.says = RetryLater(FailureCause.OVERLOADED, "answered 429", LONG, 429)
    unavailable = OutboxUnavailable("the disk is full")
    async with relaying(queue, central, watch, tidied=tidied, untidy=unavailable) as relay:
        async with asyncio.timeout(5):
            await tidied.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        next_try_at = relay.status.next_try_at
        assert next_try_at is not None
        assert next_try_at - asyncio.get_running_loop().time() > LONG / 2
        assert (relay.status.cause, relay.totals.passes) == ("head office is overloaded", 1)


async def test_quiet_hours_end_a_running_pass_after_its_window_except_on_try_now() -> None:
    queue, central, watch = Queue(25), Central(), Watch()
    hours: list[str] = []
    central.meanwhile = lambda: hours.append("begun") if len(central.windows) == 2 else None
    async with relaying(queue, central, watch, is_quiet=lambda: bool(hours)) as relay:
        await watch.sees(DeliveryState.QUIET)
        assert (central.windows, len(queue.waiting)) == ([10, 10], 5)
        queue.waiting += [event(position) for position in range(26, 46)]
        relay.try_now()
        await is_empty(queue)
    assert central.windows == [10, 10, 10, 10, 5]


class TestHearing:
    """Heartbeat results set the state as long as passes have none of their own."""

    async def test_refused_heartbeat_blocks_until_one_is_accepted(self) -> None:
        watch = Watch()
        async with relaying(Queue(), Central(), watch) as relay:
            relay.on_heartbeat_result(HELD)
            held = relay.status
            relay.on_heartbeat_result(None)
        assert (held.state, held.cause, held.http_status) == (
            DeliveryState.HOLDING,
            "unauthorized",
            401,
        )
        assert [status.state for status in watch.seen] == [
            DeliveryState.HOLDING,
            DeliveryState.IDLE,
        ]

    async def test_pass_without_events_keeps_the_blocked_state(self) -> None:
        watch, tidied = Watch(), asyncio.Event()
        async with relaying(Queue(), Central(), watch, tidied=tidied) as relay:
            relay.on_heartbeat_result(HELD)
            async with asyncio.timeout(5):
                await tidied.wait()
            assert relay.status.state is DeliveryState.HOLDING
        assert len(watch.seen) == 1

    async def test_delivered_events_clear_the_blocked_state(self) -> None:
        queue, watch = Queue(1), Watch()
        async with relaying(queue, Central(), watch) as relay:
            relay.on_heartbeat_result(HELD)
            status = await watch.sees(DeliveryState.IDLE)
        assert status.cause is None

    async def test_failure_of_a_pass_has_priority_over_a_refused_heartbeat(self) -> None:
        central, watch = Central(), Watch()
        central.says = DOWN
        async with relaying(Queue(1), central, watch) as relay:
            await watch.sees(DeliveryState.RETRYING)
            relay.on_heartbeat_result(HELD)
            assert relay.status.state is DeliveryState.RETRYING
