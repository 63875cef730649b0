"""Deferred events on a real store: they wait, get stuck in sight, and can be given up."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.doctor.store.findings import check_damaged_rows, check_stuck
from agent.facts import DeliveryState
from agent.store.db.tables import STUCK_ATTEMPTS
from agent.store.queries.capture_status import read_captures
from agent.store.queries.status import StorageStatus, read_status
from agent.uplink.scheduled_jobs import set_aside_stuck
from sync.delivery.outbox import EventResult, OutboxEvent
from sync.delivery.outcomes import Deferred, Refused, Verdict
from sync.runtime.checks.check import Verdict as CheckVerdict
from tests.support.agent.outbox import PLENTY, OutboxRig, outbox_on
from tests.support.agent.store import answer, change, session
from tests.support.log_fields import fields_of

FAILED = Deferred("NO_VERDICT", "no verdict on this event: head office failed, answered 500", 500)
ENDPOINT_DOWN = replace(FAILED, others_passed=False)
WAITS = Deferred("SESSION_WAITS", "an earlier event waits", is_waiting=True)
HOUR, DAY, YEAR = 3_600, 24 * 3_600, 365 * 24 * 3_600


async def settle(rig: OutboxRig, verdict: Verdict, *events: OutboxEvent) -> None:
    window = await rig.outbox.next_window(PLENTY)
    await rig.outbox.settle(window, [EventResult(event, verdict) for event in events])


async def retries(rig: OutboxRig) -> list[OutboxEvent]:
    return list((await rig.outbox.next_retry_window(PLENTY)).events)


async def one_stuck(rig: OutboxRig, tries: int = STUCK_ATTEMPTS) -> None:
    """Capture three sessions and defer the second one until it is stuck."""
    await rig.capture(session("one"), session("two"), session("three"))
    first, second, third = (await rig.window()).events
    await rig.deliver(first, third)
    await settle(rig, FAILED, second)
    for _ in range(tries - 1):
        rig.clock.pass_seconds(HOUR)
        (again,) = await retries(rig)
        await settle(rig, FAILED, again)


async def try_for(rig: OutboxRig, days: int) -> None:
    """Try the stuck event again every twelve hours, in vain."""
    for _ in range(2 * days):
        rig.clock.pass_seconds(DAY // 2)
        await settle(rig, FAILED, *await retries(rig))


async def status(rig: OutboxRig) -> StorageStatus:
    return await rig.outbox.access.read_hot(read_status, rig.directory)


async def states(rig: OutboxRig, name: str) -> list[DeliveryState]:
    found = await rig.outbox.access.read_hot(read_captures, name)
    return [one.state for one in found]


async def test_deferred_event_waits_and_the_watermark_passes_it(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig, tries=1)
        found = await status(rig)
        assert (found.waiting, found.dead_letters, found.stuck) == (1, 0, 0)
        assert found.current.settled_through == 3
        assert found.oldest_waiting_at_us is not None
        assert await states(rig, "two") == [DeliveryState.WAITING]
        assert await states(rig, "three") == [DeliveryState.DELIVERED]
        assert await rig.outbox.dead_letters.page(10) == []


async def test_deferred_event_ahead_of_the_watermark_counts_as_waiting(tmp_path: Path) -> None:
    """It is settled, and head office has no verdict on it."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"), session("three"))
        _, second, third = (await rig.window()).events
        await rig.deliver(third)
        await settle(rig, FAILED, second)
        assert (await status(rig)).waiting == 2


async def test_event_is_tried_again_after_waits_that_grow_to_an_hour(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig, tries=1)
        waits = []
        for _ in range(14):
            seconds = 0
            while not await retries(rig):
                rig.clock.pass_seconds(seconds or 1)
                seconds = max(2 * seconds, 1)
            waits.append(seconds)
            await settle(rig, FAILED, *await retries(rig))
        assert waits[:4] == [2, 4, 8, 16]
        assert waits[-1] == waits[-2] <= 2 * HOUR


async def many_deferred(rig: OutboxRig, count: int) -> None:
    """Capture and defer `count` sessions, and try all of them again an hour later."""
    await rig.capture(*(session(f"s{number}") for number in range(count)))
    await settle(rig, ENDPOINT_DOWN, *(await rig.window()).events)
    rig.clock.pass_seconds(HOUR)
    await settle(rig, ENDPOINT_DOWN, *await retries(rig))


async def test_many_deferred_events_are_tried_rarely_evenly_and_each_of_them(
    tmp_path: Path,
) -> None:
    """Those with a small share of the spacing were tried far more often than all the others."""
    async with outbox_on(tmp_path) as rig:
        await many_deferred(rig, 300)
        tried: list[set[int]] = []
        for _ in range(4 * 12):
            rig.clock.pass_seconds(HOUR // 12)
            due = await retries(rig)
            tried.append({event.position for event in due})
            await settle(rig, ENDPOINT_DOWN, *due)
        assert 4 * 150 < sum(map(len, tried)) < 4 * 250
        assert all(any(tried[at : at + 3]) for at in range(len(tried) - 3))
        assert max(map(len, tried)) < 50
        assert len(set.union(*tried)) == 300


async def test_all_deferred_events_are_due_once_a_long_trouble_of_one_is_over(
    tmp_path: Path,
) -> None:
    """And each row is written once for that, not with each event that passes then."""
    async with outbox_on(tmp_path) as rig:
        await many_deferred(rig, 100)
        rig.clock.pass_seconds(HOUR // 12)
        first = (await retries(rig))[0]
        await rig.deliver(first)
        due = await retries(rig)
        assert len(due) == 99
        before = await rig.writer.run(lambda store: store.run(lambda c: c.total_changes))
        await rig.deliver(due[0])
        after = await rig.writer.run(lambda store: store.run(lambda c: c.total_changes))
        assert after - before < 10


@pytest.mark.parametrize("stepped", [-YEAR, -13 * HOUR, -8 * HOUR, -HOUR, YEAR])
async def test_each_deferred_event_is_due_within_half_a_day_of_any_step_of_the_clock(
    tmp_path: Path, stepped: int
) -> None:
    async with outbox_on(tmp_path) as rig:
        await many_deferred(rig, 200)
        now_us = rig.clock()
    async with outbox_on(tmp_path) as rig:
        rig.clock.pass_seconds((now_us - rig.clock()) / 1_000_000 + stepped)
        due = await retries(rig)
        rig.clock.pass_seconds(12 * HOUR)
        assert len({event.position for event in [*due, *await retries(rig)]}) == 200


async def test_retry_after_of_an_event_is_the_wait_of_that_event(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        overloaded = Deferred("NO_VERDICT", "overloaded", 503, retry_after_seconds=1_800)
        await settle(rig, overloaded, *(await rig.window()).events)
        rig.clock.pass_seconds(1_799)
        assert await retries(rig) == []
        rig.clock.pass_seconds(2)
        assert len(await retries(rig)) == 1


async def test_clock_that_is_set_back_holds_no_deferred_event(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig, tries=1)
        rig.clock.pass_seconds(-30 * DAY)
        assert len(await retries(rig)) == 1


async def test_stuck_event_is_shown_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig, tries=STUCK_ATTEMPTS + 3)
        found = await status(rig)
        assert (found.waiting, found.dead_letters, found.stuck) == (1, 0, 1)
        (letter,) = await rig.outbox.dead_letters.page(10)
        assert (letter.error_code, letter.http_status) == ("NO_VERDICT", 500)
        assert letter.stuck_since_us is not None
        assert letter.attempts == STUCK_ATTEMPTS + 3
        rig.outbox.close()

    assert fields_of(caplog, "event.stuck") == [
        {"events": 1, "code": "NO_VERDICT", "http_status": 500, "last": "epoch-1/2"}
    ]
    check = check_stuck(tmp_path)
    assert check is not None
    assert check.verdict is CheckVerdict.WARNING
    assert "1 NO_VERDICT (500)" in check.found


async def test_delivery_ends_it(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig)
        rig.clock.pass_seconds(HOUR)
        await rig.deliver(*await retries(rig))
        assert await states(rig, "two") == [DeliveryState.DELIVERED]
        assert ((await status(rig)).waiting, await retries(rig)) == (0, [])


async def test_retry_on_request_is_at_once(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig)
        assert await retries(rig) == []
        assert await rig.outbox.dead_letters.retry("epoch-1", 2)
        assert len(await retries(rig)) == 1


@pytest.mark.parametrize("days", [0, 7])
async def test_it_is_set_aside_after_days(
    tmp_path: Path, days: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig)
        await try_for(rig, days=6)
        await set_aside_stuck(rig.outbox, days)
        assert await states(rig, "two") == [DeliveryState.WAITING]
        await try_for(rig, days=2)
        await set_aside_stuck(rig.outbox, days)
        expected = DeliveryState.REFUSED if days else DeliveryState.WAITING
        assert await states(rig, "two") == [expected]
        found = await status(rig)
        assert (found.dead_letters, found.stuck) == ((1, 0) if days else (0, 1))
    assert fields_of(caplog, "event.set_aside") == ([{"events": 1, "days": 7}] if days else [])


async def test_it_is_set_aside_after_days_also_where_each_day_begins_without_others(
    tmp_path: Path,
) -> None:
    """After each start it is tried before another event passes: its days began anew."""
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig)
        for day in range(10):
            rig.clock.pass_seconds(14 * HOUR)
            await settle(rig, ENDPOINT_DOWN, *await retries(rig))
            for _ in range(5):
                rig.clock.pass_seconds(2 * HOUR)
                await settle(rig, FAILED, *await retries(rig))
            await set_aside_stuck(rig.outbox, 7)
            expected = DeliveryState.WAITING if day < 7 else DeliveryState.REFUSED
            assert day == 7 or await states(rig, "two") == [expected]


async def test_days_do_not_count_while_no_other_event_passes(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig)
        for _ in range(3):
            await try_for(rig, days=2)
            for _ in range(20):
                rig.clock.pass_seconds(DAY // 2)
                await settle(rig, ENDPOINT_DOWN, *await retries(rig))
        await set_aside_stuck(rig.outbox, 9)
        assert await states(rig, "two") == [DeliveryState.WAITING]


@pytest.mark.parametrize("stepped", [-YEAR, YEAR])
async def test_clock_step_sets_nothing_aside(tmp_path: Path, stepped: int) -> None:
    """A machine boots in the past, tries, and its clock is put right, which looks like years."""
    async with outbox_on(tmp_path) as rig:
        rig.clock.pass_seconds(stepped)
        await one_stuck(rig)
        await try_for(rig, days=1)
        rig.clock.pass_seconds(-stepped)
        await set_aside_stuck(rig.outbox, 7)
        await try_for(rig, days=5)
        await set_aside_stuck(rig.outbox, 7)
        assert await states(rig, "two") == [DeliveryState.WAITING]
        (letter,) = await rig.outbox.dead_letters.page(10)
        assert rig.clock() - 8 * DAY * 1_000_000 < (letter.stuck_since_us or 0) < rig.clock()

        await try_for(rig, days=2)
        await set_aside_stuck(rig.outbox, 7)
        assert await states(rig, "two") == [DeliveryState.REFUSED]


@pytest.mark.parametrize("value", ["0", "7"])
async def test_damage_leaves_no_deferred_event_untried(tmp_path: Path, value: str) -> None:
    """It seemed to wait behind another one, and was never sent again."""
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig, tries=2)
    change(tmp_path, f"UPDATE dead_letter SET retry_wanted = {value}")  # noqa: S608 - the test's own
    async with outbox_on(tmp_path) as rig:
        await rig.writer.check(30)
        rig.clock.pass_seconds(2 * HOUR)
        assert [event.position for event in await retries(rig)] == [2]


async def test_lost_row_of_a_deferred_event_tells_that_head_office_lacks_a_capture(
    tmp_path: Path,
) -> None:
    """Without its row the event looks delivered."""
    async with outbox_on(tmp_path) as rig:
        await one_stuck(rig, tries=2)
    change(tmp_path, "UPDATE dead_letter SET position = 77")
    async with outbox_on(tmp_path) as rig:
        await rig.writer.check(30)
        assert (await status(rig)).damaged_rows == 1
    check = check_damaged_rows(tmp_path)
    assert check is not None
    assert "captures that head office lacks, of which the number is lost: 1" in check.found


async def test_answer_follows_once_its_session_is_set_aside_or_discarded(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", "guest@example.com"))
        first, second = (await rig.window()).events
        await settle(rig, FAILED, first)
        (waiting,) = (await rig.window()).events
        assert (waiting.position, waiting.is_waiting) == (second.position, True)
        await settle(rig, WAITS, waiting)
        assert [event.position for event in await retries(rig)] == []

        assert await rig.outbox.dead_letters.set_aside("epoch-1", 1)
        (released,) = await retries(rig)
        assert released.position == second.position
        assert (released.is_waiting, released.session_refused) == (False, True)
        assert b"guest@example.com" in released.body


async def test_second_answer_waits_behind_the_first(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", "a@example.com"))
        first, second = (await rig.window()).events
        await rig.deliver(first)
        await settle(rig, FAILED, second)
        await rig.capture(answer("one", "b@example.com"))
        (third,) = (await rig.window()).events
        assert third.is_waiting
        await settle(rig, WAITS, third)

        rig.clock.pass_seconds(HOUR)
        (again,) = await retries(rig)
        await rig.deliver(again)
        (released,) = await retries(rig)
        assert (released.position, released.is_waiting) == (third.position, False)


async def test_only_a_deferred_event_can_be_set_aside(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        first, _ = (await rig.window()).events
        await rig.refuse(first)
        assert not await rig.outbox.dead_letters.set_aside("epoch-1", 1)
        assert not await rig.outbox.dead_letters.set_aside("epoch-1", 2)


async def test_discarding_a_stuck_event_erases_its_address(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", "guest@example.com"))
        first, second = (await rig.window()).events
        await rig.deliver(first)
        await settle(rig, FAILED, second)
        assert await rig.outbox.dead_letters.discard("epoch-1", 2)
        found = await status(rig)
        assert (found.waiting, found.stuck, found.dead_letters) == (0, 0, 0)


async def test_dead_letter_that_fails_when_retried_keeps_the_reason_of_head_office(
    tmp_path: Path,
) -> None:
    """It tells what a later "already exists" means."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.refuse(*(await rig.window()).events)
        await rig.outbox.dead_letters.retry("epoch-1", 1)
        (again,) = await retries(rig)
        await settle(rig, FAILED, again)
        rig.clock.pass_seconds(HOUR)
        (again,) = await retries(rig)
        assert again.refusal == Refused("CODE", "a reason", 400)
        assert (await status(rig)).dead_letters == 1


async def test_address_of_a_deferred_answer_is_kept(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", "guest@example.com"))
        first, second = (await rig.window()).events
        await rig.deliver(first)
        await settle(rig, FAILED, second)
        while await rig.outbox.retention.erase_once():
            pass
        rig.clock.pass_seconds(HOUR)
        (again,) = await retries(rig)
        assert b"guest@example.com" in again.body
