"""Dead letters: listed with their reason, retried or discarded, never blocking the outbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.facts import DeliveryState, Receipt
from agent.store.outbox.dead_letter_queue import DeadLetter
from agent.store.queries.reader import StoreReader
from sync.delivery.outbox import OutboxEvent
from sync.delivery.outcomes import Refused
from sync.protocol.wire import ErrorCode, EventType
from tests.support.agent.outbox import PLENTY, REFUSED, OutboxRig, outbox_on
from tests.support.agent.store import ADDRESS, AT, EpochIds, answer, query, session
from tests.support.clocks import WallClock

DAY_SECONDS = 24 * 3600
WITH_ITS_SESSION = Refused(ErrorCode.SESSION_REFUSED, "its session was refused", None)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[OutboxRig]:
    """Run an outbox with session one (1) and its answer (2) rejected, session two (3) delivered."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        one, two, three = (await rig.window()).events
        await rig.refuse(one)
        await rig.refuse(two, verdict=WITH_ITS_SESSION)
        await rig.deliver(three)
        yield rig


async def retries(rig: OutboxRig) -> list[OutboxEvent]:
    """Return the dead letters to retry."""
    return list((await rig.outbox.next_retry_window(PLENTY)).events)


async def shown(rig: OutboxRig) -> list[int]:
    """Return the sequences of the listed dead letters."""
    return [letter.receipt.sequence for letter in await rig.outbox.dead_letters.page(10)]


async def addresses(rig: OutboxRig) -> list[object]:
    """Return the positions of the stored addresses."""
    rows = query(rig.directory, "SELECT position FROM email_answer WHERE address IS NOT NULL")
    return [row[0] for row in rows]


async def test_dead_letter_has_the_event_and_the_reason(rig: OutboxRig) -> None:
    first, _ = await rig.outbox.dead_letters.page(10)
    assert first == DeadLetter(
        receipt=Receipt("epoch-1", 1),
        type=EventType.SESSION_STARTED,
        correlation_id="one",
        error_code="CODE",
        error_message="a reason",
        http_status=400,
        refused_at_us=AT.wall_us,
        attempts=1,
        retry_wanted=False,
        discarded_at_us=None,
    )
    assert await rig.outbox.dead_letters.find("epoch-1", 1) == first


async def test_page_continues_after_the_last_receipt(rig: OutboxRig) -> None:
    (first,) = await rig.outbox.dead_letters.page(1)
    (second,) = await rig.outbox.dead_letters.page(1, first.receipt)
    assert [first.receipt.sequence, second.receipt.sequence] == [1, 2]
    assert await rig.outbox.dead_letters.page(1, second.receipt) == []


@pytest.mark.parametrize(("epoch", "sequence"), [("epoch-1", 3), ("epoch-1", 99), ("none", 1)])
async def test_other_events_are_neither_found_nor_changed(
    rig: OutboxRig, epoch: str, sequence: int
) -> None:
    letters = rig.outbox.dead_letters
    assert await letters.find(epoch, sequence) is None
    assert not await letters.retry(epoch, sequence)
    assert not await letters.discard(epoch, sequence)


async def test_nothing_is_retried_unless_marked(rig: OutboxRig) -> None:
    assert await retries(rig) == []


async def test_retry_of_a_session_includes_its_rejected_answers(rig: OutboxRig) -> None:
    assert await rig.outbox.dead_letters.retry("epoch-1", 1)
    events = await retries(rig)
    assert [(e.position, e.sequence, e.session_refused) for e in events] == [
        (1, 1, False),
        (2, 2, False),
    ]
    assert ADDRESS.encode() in events[1].body


async def test_retry_of_an_answer_alone_says_that_its_session_is_rejected(rig: OutboxRig) -> None:
    assert await rig.outbox.dead_letters.retry("epoch-1", 2)
    assert [(e.position, e.session_refused) for e in await retries(rig)] == [(2, True)]


async def test_dead_letter_rejected_again_is_no_longer_marked_for_retry(rig: OutboxRig) -> None:
    await rig.outbox.dead_letters.retry("epoch-1", 1)
    rig.clock.pass_seconds(60)
    await rig.refuse((await retries(rig))[0], verdict=Refused("OTHER", "another reason", 409))
    found = await rig.outbox.dead_letters.find("epoch-1", 1)
    assert found is not None
    assert (found.attempts, found.error_code, found.retry_wanted) == (2, "OTHER", False)
    assert found.refused_at_us == AT.wall_us + 60_000_000
    assert [e.position for e in await retries(rig)] == [2]


async def test_late_delivery_removes_the_dead_letter_and_has_its_own_time(
    rig: OutboxRig,
) -> None:
    await rig.outbox.dead_letters.retry("epoch-1", 1)
    rig.clock.pass_seconds(60)
    await rig.deliver(*await retries(rig))
    assert await shown(rig) == []
    later = AT.wall_us + 60_000_000
    states = [(c.state, c.delivered_at_us) for c in StoreReader(rig.directory).session("one")]
    assert states == [(DeliveryState.DELIVERED, later)] * 2
    (other,) = StoreReader(rig.directory).session("two")
    assert other.delivered_at_us == AT.wall_us
    assert StoreReader(rig.directory).status().waiting == 0


async def test_late_delivery_of_a_session_retries_its_answers(rig: OutboxRig) -> None:
    """This includes answers rejected while the session was in flight."""
    await rig.outbox.dead_letters.retry("epoch-1", 1)
    session_, answer_ = await retries(rig)
    await rig.refuse(answer_, verdict=WITH_ITS_SESSION)
    await rig.deliver(session_)
    assert [(e.position, e.session_refused) for e in await retries(rig)] == [(2, False)]


async def test_only_its_own_attempts_put_a_dead_letter_in_doubt(rig: OutboxRig) -> None:
    """An "already exists" about another record, taken for its own, would lose it silently."""
    await rig.capture(session("three"))
    await rig.outbox.dead_letters.retry("epoch-1", 1)
    await rig.outbox.record_attempt(await rig.window())
    assert [e.is_doubtful for e in await retries(rig)] == [False, False]
    await rig.outbox.record_attempt(await rig.outbox.next_retry_window(PLENTY))
    assert [e.is_doubtful for e in await retries(rig)] == [True, True]


async def test_retry_that_was_never_sent_leaves_no_doubt(rig: OutboxRig) -> None:
    """After a failed connection, a later "already in use" is about another record."""
    await rig.outbox.dead_letters.retry("epoch-1", 1)
    window = await rig.outbox.next_retry_window(PLENTY)
    await rig.outbox.record_attempt(window)
    await rig.outbox.settle(window, [])
    assert [e.is_doubtful for e in await retries(rig)] == [False, False]


async def test_discarded_dead_letter_is_neither_listed_nor_retried_nor_counted(
    rig: OutboxRig,
) -> None:
    assert await rig.outbox.dead_letters.discard("epoch-1", 2)
    assert await shown(rig) == [1]
    assert StoreReader(rig.directory).status().dead_letters == 1
    assert not await rig.outbox.dead_letters.retry("epoch-1", 2)
    assert await rig.outbox.dead_letters.retry_due() == 0
    found = await rig.outbox.dead_letters.find("epoch-1", 2)
    assert found is not None
    assert found.discarded_at_us == AT.wall_us


async def test_discard_erases_the_address_at_once(rig: OutboxRig) -> None:
    assert await addresses(rig) == [2]
    await rig.outbox.dead_letters.discard("epoch-1", 2)
    assert await addresses(rig) == []


async def test_answer_of_a_discarded_session_says_that_it_was_rejected(rig: OutboxRig) -> None:
    await rig.outbox.dead_letters.discard("epoch-1", 1)
    await rig.capture(answer("one", "guest.two@example.com"))
    assert [e.session_refused for e in (await rig.window()).events] == [True]


async def test_dead_letters_are_retried_after_a_day(rig: OutboxRig) -> None:
    rig.clock.pass_seconds(DAY_SECONDS - 1)
    assert await rig.outbox.dead_letters.retry_due() == 0
    rig.clock.pass_seconds(1)
    assert await rig.outbox.dead_letters.retry_due() == 2
    assert [e.position for e in await retries(rig)] == [1, 2]


async def test_dead_letters_are_retried_when_the_clock_was_set_back(rig: OutboxRig) -> None:
    rig.clock.pass_seconds(-10)
    assert await rig.outbox.dead_letters.retry_due() == 2


async def test_dead_letters_are_retried_once_by_another_version(tmp_path: Path) -> None:
    epochs, clock = EpochIds(), WallClock()
    async with outbox_on(tmp_path, epochs=epochs, clock=clock, version="1.0") as rig:
        await rig.capture(session("one"))
        await rig.refuse(*(await rig.window()).events)
        assert await rig.outbox.dead_letters.retry_due() == 0
    async with outbox_on(tmp_path, epochs=epochs, clock=clock, version="1.1") as rig:
        assert await rig.outbox.dead_letters.retry_due() == 1
        await rig.refuse(*await retries(rig), verdict=REFUSED)
        assert await rig.outbox.dead_letters.retry_due() == 0


async def test_retry_due_covers_more_dead_letters_than_one_transaction(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"s{n}") for n in range(1100)))
        events = (await rig.window(events=1100)).events
        await rig.refuse(*events)
        assert await rig.positions() == []
        rig.clock.pass_seconds(DAY_SECONDS)
        assert await rig.outbox.dead_letters.retry_due() == 1100
        assert len(await retries(rig)) == PLENTY.events


async def overtaken(rig: OutboxRig) -> list[bool]:
    """Reject answer 4 of session two, deliver answer 5; return `is_overtaken` of the retries."""
    await rig.capture(answer("two"), answer("two", "guest.two@example.com"))
    refused, later = (await rig.window()).events
    await rig.refuse(refused)
    await rig.deliver(later)
    await rig.outbox.dead_letters.retry("epoch-1", 4)
    return [event.is_overtaken for event in await retries(rig)]


async def test_retry_is_overtaken_when_a_later_answer_was_delivered(
    rig: OutboxRig,
) -> None:
    """A receiver that lets the last answer win would otherwise undo the customer's choice."""
    assert await overtaken(rig) == [True]


async def test_later_answer_is_kept_as_long_as_an_earlier_dead_letter(
    rig: OutboxRig,
) -> None:
    await overtaken(rig)
    rig.clock.pass_seconds(365 * DAY_SECONDS)
    while await rig.outbox.retention.purge_once():
        pass
    assert [event.is_overtaken for event in await retries(rig)] == [True]


async def test_rejected_later_answer_overtakes_nothing(rig: OutboxRig) -> None:
    await rig.capture(answer("two"), answer("two", "guest.two@example.com"))
    await rig.refuse(*(await rig.window()).events)
    await rig.outbox.dead_letters.retry("epoch-1", 4)
    assert [event.is_overtaken for event in await retries(rig)] == [False]


async def test_rewind_resends_dead_letters_and_keeps_them_until_delivered(rig: OutboxRig) -> None:
    assert await rig.outbox.rewind("epoch-1", 1)
    assert await rig.positions() == [1, 2, 3]
    assert await shown(rig) == [1, 2]
    await rig.deliver_all()
    assert await shown(rig) == []


# Events reported as rejected by central although they were delivered: central fell back.


async def test_delivered_event_reported_as_rejected_is_retried(rig: OutboxRig) -> None:
    rig.clock.pass_seconds(60)
    assert await rig.outbox.dead_letters.retry_delivered("epoch-1", [1, 2, 3, 99]) == 1
    assert [(e.position, e.is_doubtful) for e in await retries(rig)] == [(3, False)]
    found = await rig.outbox.dead_letters.find("epoch-1", 3)
    assert found is not None
    assert (found.error_code, found.attempts, found.retry_wanted) == ("STANDS_REFUSED", 1, True)
    assert found.refused_at_us == AT.wall_us + 60_000_000


async def test_event_delivered_again_after_fallback_has_its_own_time(rig: OutboxRig) -> None:
    await rig.outbox.dead_letters.retry_delivered("epoch-1", [3])
    rig.clock.pass_seconds(60)
    await rig.deliver(*await retries(rig))
    assert await shown(rig) == [1, 2]
    (delivered,) = StoreReader(rig.directory).session("two")
    assert (delivered.state, delivered.delivered_at_us) == (
        DeliveryState.DELIVERED,
        AT.wall_us + 60_000_000,
    )


async def test_event_to_resend_after_fallback_keeps_its_address_until_delivered(
    rig: OutboxRig,
) -> None:
    await rig.capture(answer("two"))
    await rig.deliver_all()
    assert await rig.outbox.dead_letters.retry_delivered("epoch-1", [4]) == 1
    rig.clock.pass_seconds(365 * DAY_SECONDS)
    while await rig.outbox.retention.erase_once() or await rig.outbox.retention.purge_once():
        pass
    (event,) = await retries(rig)
    assert ADDRESS.encode() in event.body


async def test_event_resent_after_fallback_is_marked_erased_if_its_address_is_gone(
    rig: OutboxRig,
) -> None:
    await rig.capture(answer("two"))
    await rig.deliver_all()
    while await rig.outbox.retention.erase_once():
        pass
    assert await addresses(rig) == [2]
    assert await rig.outbox.dead_letters.retry_delivered("epoch-1", [4]) == 1
    assert [event.is_erased for event in await retries(rig)] == [True]


async def test_fallback_skips_pending_discarded_and_unknown_events(rig: OutboxRig) -> None:
    await rig.capture(session("three"))
    await rig.outbox.dead_letters.discard("epoch-1", 1)
    assert await rig.outbox.dead_letters.retry_delivered("epoch-1", [1, 2, 4, 99]) == 0
    assert await rig.outbox.dead_letters.retry_delivered("none", [3]) == 0
    assert await retries(rig) == []
    assert await rig.positions() == [4]


async def test_fallback_skips_purged_events(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        while await rig.outbox.retention.purge_once():
            pass
        assert await rig.outbox.dead_letters.retry_delivered("epoch-1", [1]) == 0


async def test_fallback_skips_events_pending_since_a_rewind(rig: OutboxRig) -> None:
    assert await rig.outbox.rewind("epoch-1", 3)
    assert await rig.outbox.dead_letters.retry_delivered("epoch-1", [3]) == 0
    assert await rig.positions() == [3]
