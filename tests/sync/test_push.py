"""One pass: window after window; whatever goes wrong, only what central confirmed is settled."""

import asyncio

import pytest

from sync.delivery.outbox import Judged, OutboxUnavailable, Window
from sync.delivery.outcomes import (
    Delivered,
    GoBack,
    Hold,
    HoldReason,
    Refused,
    Renumber,
    Trouble,
    TryLater,
)
from sync.delivery.push import MOST_CORRECTIONS, CutOff, Delivery, PassReport, push_once
from tests.sync.fake_outbox import FakeOutbox
from tests.sync.fake_transport import FakeTransport, leaves, refuses, takes, takes_only
from tests.sync.virtual_time import run_in_virtual_time

DOWN = TryLater(Trouble.NO_ANSWER, "silence")
CUT = TryLater(Trouble.NO_LINE, "no connection")
HELD = Hold(HoldReason.UNAUTHORIZED, "the token is not accepted", 401)
PATIENCE_SECONDS = 5


class Paces:
    """Takes no time; keeps the bytes it was told, and has `meanwhile` capture a session once."""

    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.more: list[bool] = []
        self.meanwhile: FakeOutbox | None = None

    async def __call__(self, sent_bytes: int, *, more: bool) -> None:
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
    paces: Paces | None = None,
) -> PassReport:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await push_once(outbox, transport, paces or Paces(), probing=probing)


async def with_dead_letters(outbox: FakeOutbox, *positions: int) -> None:
    """Have all that waits delivered but these, which are refused and to be tried again."""
    await push(outbox, FakeTransport(refuses(*positions), refuses(*positions), refuses(*positions)))
    for position in positions:
        await outbox.want_retry(position)


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_all_that_waits_is_sent_in_order_and_settled(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    transport = FakeTransport(leaves_doubt=leaves_doubt)
    report = await push(outbox, transport)
    assert transport.windows == [[1, 2, 3], [4, 5, 6], [7]]
    assert report == PassReport(delivered=7)
    assert outbox.waiting == []


async def test_nothing_to_do_is_nothing_sent() -> None:
    transport = FakeTransport()
    assert await push(FakeOutbox(), transport) == PassReport()
    assert transport.windows == []


async def test_capture_during_the_pass_still_goes_with_it(outbox: FakeOutbox) -> None:
    paces = Paces()
    paces.meanwhile = outbox
    assert (await push(outbox, FakeTransport(), paces=paces)).delivered == 8


async def test_pace_is_kept_by_the_bytes_of_each_window(outbox: FakeOutbox) -> None:
    paces = Paces()
    await push(outbox, FakeTransport(), paces=paces)
    assert [size > 0 for size in paces.bytes] == [True, True, True]
    assert paces.bytes[0] == 3 * paces.bytes[2]
    assert paces.more == [True, True, False]


@pytest.mark.parametrize("stop", [DOWN, CUT, HELD])
async def test_what_stops_a_pass_leaves_all_that_was_not_judged(
    outbox: FakeOutbox, stop: Hold | TryLater
) -> None:
    transport = FakeTransport(takes, takes_only(1, stop))
    report = await push(outbox, transport)
    assert (report.stop, report.delivered, report.got_through) == (stop, 4, True)
    assert outbox.waiting == [5, 6, 7]


async def test_refused_events_are_set_aside_and_the_rest_goes_on(outbox: FakeOutbox) -> None:
    report = await push(outbox, FakeTransport(refuses(2)))
    assert (report.delivered, report.refused, report.stop) == (6, 1, None)
    assert outbox.model.held[2].dead == "open"


async def test_event_without_a_verdict_stays_and_the_rest_goes_on(outbox: FakeOutbox) -> None:
    transport = FakeTransport(leaves(2, trouble=DOWN), leaves_doubt=True)
    report = await push(outbox, transport)
    assert (report.delivered, report.stop) == (6, DOWN)
    assert outbox.waiting == [2]
    assert outbox.model.held[2].in_doubt


async def test_assumed_deliveries_are_counted_apart(outbox: FakeOutbox) -> None:
    assumed = refuses(2, verdict=Delivered(assumed=True))
    report = await push(outbox, FakeTransport(assumed))
    assert (report.delivered, report.assumed) == (7, 1)


# The probe.


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_probe_is_one_event_and_the_flood_follows_it(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    transport = FakeTransport(leaves_doubt=leaves_doubt)
    await push(outbox, transport, probing=True)
    assert transport.windows == [[1], [2, 3, 4], [5, 6, 7]]
    assert transport.probes == [True, False, False]


async def test_probe_that_fails_is_all_that_is_sent(outbox: FakeOutbox) -> None:
    transport = FakeTransport(takes_only(0, DOWN))
    await push(outbox, transport, probing=True)
    assert transport.windows == [[1]]


async def test_probe_without_a_verdict_leaves_it_to_the_next_one(outbox: FakeOutbox) -> None:
    transport = FakeTransport(leaves(1, trouble=DOWN), leaves_doubt=True)
    await push(outbox, transport, probing=True)
    assert transport.windows == [[1], [2], [3, 4, 5], [6, 7]]


async def test_probe_that_is_refused_shows_that_central_is_there(outbox: FakeOutbox) -> None:
    transport = FakeTransport(refuses(1))
    await push(outbox, transport, probing=True)
    assert transport.windows[:2] == [[1], [2, 3, 4]]


# Dead letters that are tried again.


async def test_dead_letters_are_tried_before_what_waits(outbox: FakeOutbox) -> None:
    await with_dead_letters(outbox, 2, 5)
    outbox.capture_answer(session=2)
    transport = FakeTransport()
    report = await push(outbox, transport)
    assert transport.windows == [[2, 5], [8]]
    assert report.delivered == 3


async def test_answer_that_waits_for_a_dead_letter_knows_of_its_late_delivery(
    outbox: FakeOutbox,
) -> None:
    await with_dead_letters(outbox, 2)
    outbox.capture_answer(session=2)
    outbox.settling.clear()
    transport = FakeTransport(leaves_doubt=True)
    running = asyncio.ensure_future(push(outbox, transport))
    for _ in range(50):
        await asyncio.sleep(0)
    outbox.settling.set()
    await running
    assert [(e.position, e.session_refused) for w in transport.sent for e in w.events] == [
        (2, False),
        (8, False),
    ]


async def test_dead_letter_that_stumbles_does_not_hold_up_what_waits(outbox: FakeOutbox) -> None:
    await with_dead_letters(outbox, 2)
    await outbox.capture_sessions(3)
    transport = FakeTransport(takes_only(0, DOWN))
    report = await push(outbox, transport)
    assert transport.windows == [[2], [8], [9, 10]]
    assert (report.stop, outbox.waiting) == (DOWN, [])


@pytest.mark.parametrize("stop", [CUT, HELD])
async def test_dead_letter_that_meets_no_central_ends_the_pass(
    outbox: FakeOutbox, stop: Hold | TryLater
) -> None:
    await with_dead_letters(outbox, 2)
    await outbox.capture_sessions(3)
    transport = FakeTransport(takes_only(0, stop))
    await push(outbox, transport)
    assert transport.windows == [[2]]


async def test_dead_letter_ahead_of_a_restored_central_does_not_block_the_way(
    outbox: FakeOutbox,
) -> None:
    """Central lacks what comes before it: the dead letter waits for its turn in the numbers."""
    await with_dead_letters(outbox, 6)
    central_has = [3]

    def restored(window: Window) -> Delivery:
        if window.events[0].sequence > central_has[0] + 1:
            return Delivery([], stop=GoBack(central_has[0] + 1))
        central_has[0] = window.events[-1].sequence
        return takes(window)

    transport = FakeTransport()
    transport.otherwise = restored
    report = await push(outbox, transport)
    assert transport.windows == [[6], [4, 5, 6], [7]]
    assert (report.stop, outbox.waiting, outbox.model.held[6].dead) == (None, [], None)


# What central says about the numbers.


async def test_pass_goes_back_to_what_central_lacks(outbox: FakeOutbox) -> None:
    await push(outbox, FakeTransport())
    await outbox.capture_sessions(1)
    transport = FakeTransport(takes_only(0, GoBack(5)))
    report = await push(outbox, transport)
    assert transport.windows == [[8], [5, 6, 7], [8]]
    assert (report.corrections, report.stop) == (1, None)


async def test_pass_goes_back_to_what_a_heartbeat_already_let_wait_again(
    outbox: FakeOutbox,
) -> None:
    await push(outbox, FakeTransport())
    await outbox.capture_sessions(1)

    async def meanwhile(_window: Window) -> Delivery:
        assert await outbox.rewind("epoch-1", 5)
        return Delivery([], stop=GoBack(5))

    transport = FakeTransport(meanwhile)
    report = await push(outbox, transport)
    assert transport.windows == [[8], [5, 6, 7], [8]]
    assert report.stop is None


async def test_what_moved_to_a_new_epoch_is_sent_under_its_new_numbers(
    outbox: FakeOutbox,
) -> None:
    transport = FakeTransport(takes, takes_only(1, Renumber(4)))
    report = await push(outbox, transport)
    assert [(w.epoch, [e.sequence for e in w.events]) for w in transport.sent[2:]] == [
        ("epoch-2", [1, 2, 3])
    ]
    assert (report.stop, outbox.waiting) == (None, [])


@pytest.mark.parametrize("stop", [GoBack(1), GoBack(99), Renumber(0)])
async def test_disagreement_on_the_numbers_ends_the_pass_and_loses_nothing(
    outbox: FakeOutbox, stop: GoBack | Renumber
) -> None:
    transport = FakeTransport()
    transport.otherwise = takes_only(0, stop)
    report = await push(outbox, transport)
    assert isinstance(report.stop, TryLater)
    assert report.stop.trouble is Trouble.NO_PROGRESS
    assert len(transport.windows) <= MOST_CORRECTIONS + 1
    assert outbox.waiting == [1, 2, 3, 4, 5, 6, 7]


# What is on the disk, and when.


async def test_attempts_are_noted_before_anything_is_sent_where_central_leaves_doubt(
    outbox: FakeOutbox,
) -> None:
    noted_before: list[int] = []

    def look(window: Window) -> Delivery:
        noted_before.append(outbox.calls.count("note_attempt"))
        return takes(window)

    transport = FakeTransport(leaves_doubt=True)
    transport.otherwise = look
    await push(outbox, transport)
    assert noted_before == [1, 2, 3]


async def test_attempt_is_noted_when_what_became_of_the_one_before_is_on_the_disk(
    outbox: FakeOutbox,
) -> None:
    outbox.settling.clear()
    transport = FakeTransport(leaves_doubt=True)
    running = asyncio.ensure_future(push(outbox, transport))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (outbox.calls.count("note_attempt"), transport.windows) == (1, [[1, 2, 3]])
    outbox.settling.set()
    assert (await running).delivered == 7
    assert not any(kept.in_doubt for kept in outbox.model.held.values())


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_next_window_is_read_while_one_is_under_way(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    reads: list[int] = []

    async def slowly(window: Window) -> Delivery:
        for _ in range(50):
            await asyncio.sleep(0)
        reads.append(outbox.calls.count("read"))
        return takes(window)

    await push(outbox, FakeTransport(slowly, leaves_doubt=leaves_doubt))
    assert reads == [2]


async def test_session_refused_in_a_window_shows_in_the_one_that_was_read_meanwhile() -> None:
    outbox = FakeOutbox()
    await outbox.capture_sessions(3)
    outbox.capture_answer(session=3)

    async def slowly(window: Window) -> Delivery:
        for _ in range(50):
            await asyncio.sleep(0)
        refused = Refused("CODE", "a reason", 400)
        return Delivery([*takes(window).judged[:2], Judged(window.events[2], refused)])

    transport = FakeTransport(slowly, leaves_doubt=True)
    await push(outbox, transport)
    refused = [e.position for window in transport.sent for e in window.events if e.session_refused]
    assert refused == [4]


async def test_nothing_is_noted_where_central_knows_the_numbers(outbox: FakeOutbox) -> None:
    await push(outbox, FakeTransport())
    assert "note_attempt" not in outbox.calls


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_pass_ends_only_when_what_became_of_it_is_on_the_disk(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    outbox.settling.clear()
    running = asyncio.ensure_future(push(outbox, FakeTransport(leaves_doubt=leaves_doubt)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not running.done()
    outbox.settling.set()
    assert (await running).delivered == 7


@pytest.mark.parametrize("leaves_doubt", [False, True])
def test_pass_cut_off_does_not_wait_for_a_disk_that_hangs(*, leaves_doubt: bool) -> None:
    async def story() -> None:
        outbox = FakeOutbox()
        await outbox.capture_sessions(7)
        outbox.settling.clear()
        running = asyncio.ensure_future(push(outbox, FakeTransport(leaves_doubt=leaves_doubt)))
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        outbox.settling.set()
        await asyncio.sleep(0)
        assert running.cancelled()
        assert outbox.waiting == [1, 2, 3, 4, 5, 6, 7]
        in_doubt = [e.is_doubtful for e in (await outbox.read(FakeTransport().portion)).events]
        assert in_doubt == [leaves_doubt] * 3

    run_in_virtual_time(story())


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_pass_cut_off_before_its_settling_still_settles_what_was_delivered(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    outbox.settling.clear()
    running = asyncio.ensure_future(push(outbox, FakeTransport(leaves_doubt=leaves_doubt)))
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0)
    outbox.settling.set()
    await asyncio.wait([running])
    assert running.cancelled()
    assert set(outbox.waiting).isdisjoint({1, 2, 3})


async def test_pass_cut_off_in_mid_window_settles_what_central_had_answered(
    outbox: FakeOutbox,
) -> None:
    def cut_off(window: Window) -> Delivery:
        judged = takes(window).judged
        raise CutOff(Delivery(judged[:1], [judged[1].event]))

    with pytest.raises(asyncio.CancelledError):
        await push(outbox, FakeTransport(cut_off, leaves_doubt=True))
    assert outbox.waiting == [2, 3, 4, 5, 6, 7]
    in_doubt = [e.is_doubtful for e in (await outbox.read(FakeTransport().portion)).events]
    assert in_doubt == [True, False, False]


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_pass_cut_off_while_central_thinks_settles_nothing(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    asked = asyncio.Event()

    async def never(_window: Window) -> Delivery:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("central never answers")

    running = asyncio.ensure_future(push(outbox, FakeTransport(never, leaves_doubt=leaves_doubt)))
    await asked.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert outbox.waiting == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("leaves_doubt", [False, True])
async def test_storage_that_fails_in_mid_pass_ends_it_with_nothing_unconfirmed_settled(
    outbox: FakeOutbox, *, leaves_doubt: bool
) -> None:
    def disk_fails(window: Window) -> Delivery:
        outbox.unavailable = "the disk is gone"
        return takes(window)

    transport = FakeTransport(takes, disk_fails, leaves_doubt=leaves_doubt)
    with pytest.raises(OutboxUnavailable):
        await push(outbox, transport)
    outbox.unavailable = None
    assert set(outbox.waiting) >= {4, 5, 6, 7}
    assert (await push(outbox, FakeTransport())).stop is None
    assert outbox.waiting == []
