"""A delivery pass: only events that central confirmed are settled, after any failure."""

import asyncio

import pytest

from sync.delivery.delivery_pass import MAX_CORRECTIONS, DeliveryPass, PassReport
from sync.delivery.outbox import EventResult, OutboxUnavailable, Window
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Delivered,
    FailureCause,
    Refused,
    Renumber,
    RetryLater,
    Rewind,
)
from sync.delivery.throttle import Throttle
from sync.delivery.transport import WindowCancelled, WindowResult
from tests.support.models.fake_outbox import FakeOutbox
from tests.support.models.fake_transport import (
    FakeTransport,
    accept_all,
    accept_then_stop,
    defer,
    refuse,
)
from tests.support.virtual_time import run_in_virtual_time

DOWN = RetryLater(FailureCause.NO_RESPONSE, "silence")
NETWORK_DOWN = RetryLater(FailureCause.NETWORK_DOWN, "no connection")
BLOCKED = Blocked(BlockedReason.UNAUTHORIZED, "the token is not accepted", 401)
TIMEOUT_SECONDS = 5


class FakeThrottle(Throttle):
    """Records its pauses, which take no time, and lets `meanwhile` capture a session once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[int] = []
        self.more: list[bool] = []
        self.meanwhile: FakeOutbox | None = None

    async def pause(self, sent_bytes: int, *, more: bool) -> None:
        self.more.append(more)
        self.bytes.append(sent_bytes)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile.capture_session()


@pytest.fixture
async def outbox() -> FakeOutbox:
    """Return an outbox with seven sessions."""
    outbox = FakeOutbox()
    await outbox.capture_sessions(7)
    return outbox


async def push(
    outbox: FakeOutbox,
    transport: FakeTransport,
    *,
    probing: bool = False,
    throttle: FakeThrottle | None = None,
) -> PassReport:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await DeliveryPass(outbox, transport, throttle or FakeThrottle(), probing).run()


async def with_dead_letters(outbox: FakeOutbox, *positions: int) -> None:
    """Deliver all pending events but these, which are refused and marked for retry."""
    await push(outbox, FakeTransport(refuse(*positions), refuse(*positions), refuse(*positions)))
    for position in positions:
        await outbox.request_retry(position)


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_pending_events_are_sent_in_order_and_settled(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    transport = FakeTransport(is_idempotent=is_idempotent)
    report = await push(outbox, transport)
    assert transport.windows == [[1, 2, 3], [4, 5, 6], [7]]
    assert report == PassReport(delivered=7)
    assert outbox.waiting == []


async def test_empty_outbox_sends_nothing() -> None:
    transport = FakeTransport()
    assert await push(FakeOutbox(), transport) == PassReport()
    assert transport.windows == []


async def test_capture_during_a_pass_is_sent_by_the_same_pass(outbox: FakeOutbox) -> None:
    throttle = FakeThrottle()
    throttle.meanwhile = outbox
    assert (await push(outbox, FakeTransport(), throttle=throttle)).delivered == 8


async def test_throttle_gets_the_bytes_of_each_window(outbox: FakeOutbox) -> None:
    throttle = FakeThrottle()
    await push(outbox, FakeTransport(), throttle=throttle)
    assert [size > 0 for size in throttle.bytes] == [True, True, True]
    assert throttle.bytes[0] == 3 * throttle.bytes[2]
    assert throttle.more == [True, True, False]


@pytest.mark.parametrize("stop", [DOWN, NETWORK_DOWN, BLOCKED])
async def test_stopped_pass_leaves_events_without_a_verdict_pending(
    outbox: FakeOutbox, stop: Blocked | RetryLater
) -> None:
    transport = FakeTransport(accept_all, accept_then_stop(1, stop))
    report = await push(outbox, transport)
    assert (report.stop, report.delivered, report.made_progress) == (stop, 4, True)
    assert outbox.waiting == [5, 6, 7]


async def test_refused_event_becomes_a_dead_letter_and_the_rest_is_delivered(
    outbox: FakeOutbox,
) -> None:
    report = await push(outbox, FakeTransport(refuse(2)))
    assert (report.delivered, report.refused, report.stop) == (6, 1, None)
    assert outbox.model.held[2].dead == "open"


async def test_deferred_event_stays_undelivered_and_the_rest_is_delivered(
    outbox: FakeOutbox,
) -> None:
    transport = FakeTransport(defer(2), is_idempotent=False)
    report = await push(outbox, transport)
    assert (report.delivered, report.deferred, report.stop) == (6, 1, None)
    assert outbox.waiting == [2]
    assert outbox.model.held[2].in_doubt


async def test_assumed_deliveries_are_counted_separately(outbox: FakeOutbox) -> None:
    assumed = refuse(2, verdict=Delivered(assumed=True))
    report = await push(outbox, FakeTransport(assumed))
    assert (report.delivered, report.assumed) == (7, 1)


# Probes.


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_probe_is_one_event_and_full_windows_follow(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    transport = FakeTransport(is_idempotent=is_idempotent)
    await push(outbox, transport, probing=True)
    assert transport.windows == [[1], [2, 3, 4], [5, 6, 7]]
    assert transport.probes == [True, False, False]


async def test_failed_probe_ends_the_pass(outbox: FakeOutbox) -> None:
    transport = FakeTransport(accept_then_stop(0, DOWN))
    await push(outbox, transport, probing=True)
    assert transport.windows == [[1]]


async def test_probe_without_a_verdict_is_followed_by_another_probe(outbox: FakeOutbox) -> None:
    transport = FakeTransport(defer(1), is_idempotent=False)
    await push(outbox, transport, probing=True)
    assert transport.windows == [[1], [2], [3, 4, 5], [6, 7]]


async def test_refused_probe_counts_as_a_success(outbox: FakeOutbox) -> None:
    transport = FakeTransport(refuse(1))
    await push(outbox, transport, probing=True)
    assert transport.windows[:2] == [[1], [2, 3, 4]]


# Retries of dead letters.


async def test_dead_letter_retries_are_sent_before_pending_events(outbox: FakeOutbox) -> None:
    await with_dead_letters(outbox, 2, 5)
    outbox.capture_answer(session=2)
    transport = FakeTransport()
    report = await push(outbox, transport)
    assert transport.windows == [[2, 5], [8]]
    assert report.delivered == 3


async def test_answer_sees_that_the_retry_of_its_session_was_delivered(outbox: FakeOutbox) -> None:
    await with_dead_letters(outbox, 2)
    outbox.capture_answer(session=2)
    outbox.settling.clear()
    transport = FakeTransport(is_idempotent=False)
    running = asyncio.ensure_future(push(outbox, transport))
    for _ in range(50):
        await asyncio.sleep(0)
    outbox.settling.set()
    await running
    assert [(e.position, e.session_refused) for w in transport.sent for e in w.events] == [
        (2, False),
        (8, False),
    ]


async def test_failed_dead_letter_retry_does_not_block_pending_events(outbox: FakeOutbox) -> None:
    await with_dead_letters(outbox, 2)
    await outbox.capture_sessions(3)
    transport = FakeTransport(accept_then_stop(0, DOWN))
    report = await push(outbox, transport)
    assert transport.windows == [[2], [8], [9, 10]]
    assert (report.stop, outbox.waiting) == (DOWN, [])


@pytest.mark.parametrize("stop", [NETWORK_DOWN, BLOCKED])
async def test_dead_letter_retry_ends_the_pass_when_central_is_unreachable(
    outbox: FakeOutbox, stop: Blocked | RetryLater
) -> None:
    await with_dead_letters(outbox, 2)
    await outbox.capture_sessions(3)
    transport = FakeTransport(accept_then_stop(0, stop))
    await push(outbox, transport)
    assert transport.windows == [[2]]


async def test_dead_letter_retry_does_not_block_delivery_to_a_restored_central(
    outbox: FakeOutbox,
) -> None:
    """Central lacks earlier events: the dead letter is resent in sequence order."""
    await with_dead_letters(outbox, 6)
    central_has = [3]

    def restored(window: Window) -> WindowResult:
        if window.events[0].sequence > central_has[0] + 1:
            return WindowResult([], stop=Rewind(central_has[0] + 1))
        central_has[0] = window.events[-1].sequence
        return accept_all(window)

    transport = FakeTransport()
    transport.otherwise = restored
    report = await push(outbox, transport)
    assert transport.windows == [[6], [4, 5, 6], [7]]
    assert (report.stop, outbox.waiting, outbox.model.held[6].dead) == (None, [], None)


# Corrections of the sequence numbers.


async def test_gap_at_central_rewinds_the_outbox(outbox: FakeOutbox) -> None:
    await push(outbox, FakeTransport())
    await outbox.capture_sessions(1)
    transport = FakeTransport(accept_then_stop(0, Rewind(5)))
    report = await push(outbox, transport)
    assert transport.windows == [[8], [5, 6, 7], [8]]
    assert (report.corrections, report.stop) == (1, None)


async def test_gap_already_rewound_by_a_heartbeat_is_resent(outbox: FakeOutbox) -> None:
    await push(outbox, FakeTransport())
    await outbox.capture_sessions(1)

    async def meanwhile(_window: Window) -> WindowResult:
        assert await outbox.rewind("epoch-1", 5)
        return WindowResult([], stop=Rewind(5))

    transport = FakeTransport(meanwhile)
    report = await push(outbox, transport)
    assert transport.windows == [[8], [5, 6, 7], [8]]
    assert report.stop is None


async def test_renumbered_events_are_sent_in_the_new_epoch(outbox: FakeOutbox) -> None:
    transport = FakeTransport(accept_all, accept_then_stop(1, Renumber(4)))
    report = await push(outbox, transport)
    assert [(w.epoch, [e.sequence for e in w.events]) for w in transport.sent[2:]] == [
        ("epoch-2", [1, 2, 3])
    ]
    assert (report.stop, outbox.waiting) == (None, [])


@pytest.mark.parametrize("stop", [Rewind(1), Rewind(99), Renumber(0)])
async def test_repeated_sequence_disagreement_ends_the_pass_without_loss(
    outbox: FakeOutbox, stop: Rewind | Renumber
) -> None:
    transport = FakeTransport()
    transport.otherwise = accept_then_stop(0, stop)
    report = await push(outbox, transport)
    assert isinstance(report.stop, RetryLater)
    assert report.stop.cause is FailureCause.NO_PROGRESS
    assert len(transport.windows) <= MAX_CORRECTIONS + 1
    assert outbox.waiting == [1, 2, 3, 4, 5, 6, 7]


async def test_pass_ends_when_the_outbox_starts_no_further_epoch(
    outbox: FakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_epoch: str, _after: int) -> bool:
        return False

    monkeypatch.setattr(outbox, "renumber", refuse)
    transport = FakeTransport(accept_all, accept_then_stop(1, Renumber(4)))
    report = await push(outbox, transport)
    assert isinstance(report.stop, RetryLater)
    assert report.stop.cause is FailureCause.NO_PROGRESS
    assert len(transport.windows) == 2


# Durability and order of the writes.


async def test_attempt_is_recorded_before_sending_when_resending_is_not_idempotent(
    outbox: FakeOutbox,
) -> None:
    noted_before: list[int] = []

    def look(window: Window) -> WindowResult:
        noted_before.append(outbox.calls.count("note_attempt"))
        return accept_all(window)

    transport = FakeTransport(is_idempotent=False)
    transport.otherwise = look
    await push(outbox, transport)
    assert noted_before == [1, 2, 3]


async def test_attempt_is_recorded_after_the_previous_window_is_settled(outbox: FakeOutbox) -> None:
    outbox.settling.clear()
    transport = FakeTransport(is_idempotent=False)
    running = asyncio.ensure_future(push(outbox, transport))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (outbox.calls.count("note_attempt"), transport.windows) == (1, [[1, 2, 3]])
    outbox.settling.set()
    assert (await running).delivered == 7
    assert not any(kept.in_doubt for kept in outbox.model.held.values())


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_next_window_is_read_while_one_is_in_flight(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    reads: list[int] = []

    async def slowly(window: Window) -> WindowResult:
        for _ in range(50):
            await asyncio.sleep(0)
        reads.append(outbox.calls.count("next_window"))
        return accept_all(window)

    await push(outbox, FakeTransport(slowly, is_idempotent=is_idempotent))
    assert reads == [2]


async def test_prefetched_window_is_reread_after_a_refused_session() -> None:
    outbox = FakeOutbox()
    await outbox.capture_sessions(3)
    outbox.capture_answer(session=3)

    async def slowly(window: Window) -> WindowResult:
        for _ in range(50):
            await asyncio.sleep(0)
        refused = Refused("CODE", "a reason", 400)
        return WindowResult(
            [*accept_all(window).results[:2], EventResult(window.events[2], refused)]
        )

    transport = FakeTransport(slowly, is_idempotent=False)
    await push(outbox, transport)
    refused = [e.position for window in transport.sent for e in window.events if e.session_refused]
    assert refused == [4]


async def test_attempt_is_not_recorded_when_resending_is_idempotent(outbox: FakeOutbox) -> None:
    await push(outbox, FakeTransport())
    assert "note_attempt" not in outbox.calls


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_pass_ends_after_its_last_settle_is_on_the_disk(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    outbox.settling.clear()
    running = asyncio.ensure_future(push(outbox, FakeTransport(is_idempotent=is_idempotent)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not running.done()
    outbox.settling.set()
    assert (await running).delivered == 7


@pytest.mark.parametrize("is_idempotent", [True, False])
def test_cancelled_pass_does_not_wait_for_a_hanging_disk(*, is_idempotent: bool) -> None:
    async def scenario() -> None:
        outbox = FakeOutbox()
        await outbox.capture_sessions(7)
        outbox.settling.clear()
        running = asyncio.ensure_future(push(outbox, FakeTransport(is_idempotent=is_idempotent)))
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        outbox.settling.set()
        await asyncio.sleep(0)
        assert running.cancelled()
        assert outbox.waiting == [1, 2, 3, 4, 5, 6, 7]
        in_doubt = [
            e.is_doubtful for e in (await outbox.next_window(FakeTransport().limits)).events
        ]
        assert in_doubt == [not is_idempotent] * 3

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_pass_cancelled_during_a_settle_completes_it(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    outbox.settling.clear()
    running = asyncio.ensure_future(push(outbox, FakeTransport(is_idempotent=is_idempotent)))
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0)
    outbox.settling.set()
    await asyncio.wait([running])
    assert running.cancelled()
    assert set(outbox.waiting).isdisjoint({1, 2, 3})


async def test_pass_cancelled_mid_window_settles_the_answers_received(outbox: FakeOutbox) -> None:
    def cut_off(window: Window) -> WindowResult:
        judged = accept_all(window).results
        raise WindowCancelled(WindowResult(judged[:1], [judged[1].event]))

    with pytest.raises(asyncio.CancelledError):
        await push(outbox, FakeTransport(cut_off, is_idempotent=False))
    assert outbox.waiting == [2, 3, 4, 5, 6, 7]
    in_doubt = [e.is_doubtful for e in (await outbox.next_window(FakeTransport().limits)).events]
    assert in_doubt == [True, False, False]


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_pass_cancelled_before_an_answer_settles_nothing(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    asked = asyncio.Event()

    async def never(_window: Window) -> WindowResult:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("central never answers")

    running = asyncio.ensure_future(push(outbox, FakeTransport(never, is_idempotent=is_idempotent)))
    await asked.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert outbox.waiting == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_storage_failure_ends_the_pass_without_settling_unconfirmed_events(
    outbox: FakeOutbox, *, is_idempotent: bool
) -> None:
    def disk_fails(window: Window) -> WindowResult:
        outbox.unavailable = "the disk is gone"
        return accept_all(window)

    transport = FakeTransport(accept_all, disk_fails, is_idempotent=is_idempotent)
    with pytest.raises(OutboxUnavailable):
        await push(outbox, transport)
    outbox.unavailable = None
    assert set(outbox.waiting) >= {4, 5, 6, 7}
    assert (await push(outbox, FakeTransport())).stop is None
    assert outbox.waiting == []
