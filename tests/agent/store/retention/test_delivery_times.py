"""WallClock repair: impossible delivery times neither shorten nor extend the retention."""

from pathlib import Path

import pytest

from agent.store.retention.delivery_times import EARLIEST_US
from agent.store.retention.retention import RetentionDays
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import answer, query, session
from tests.support.clocks import WallClock

DAY_US = 24 * 3600 * 1_000_000
RIGHT_US = EARLIEST_US + 365 * DAY_US
IN_2099_US = 4_070_908_800_000_000
DAYS_KEPT = RetentionDays(delivered_days=30, email_days=7)


async def delivered_at(rig: OutboxRig, wall_us: int) -> None:
    """Deliver a session and its answer with the clock at `wall_us`, then correct it."""
    await rig.capture(session("one"), answer("one"))
    rig.clock.now_us = wall_us
    await rig.deliver_all()
    rig.clock.now_us = RIGHT_US


async def run_upkeep(rig: OutboxRig) -> tuple[int, int]:
    """Run the hourly upkeep; return the numbers of events and addresses left."""
    await rig.outbox.retention.repair_times()
    while await rig.outbox.retention.erase_once() or await rig.outbox.retention.purge_once():
        pass
    ((events,),) = query(rig.directory, "SELECT count(*) FROM event")
    ((addresses,),) = query(rig.directory, "SELECT count(address) FROM email_answer")
    assert isinstance(events, int)
    assert isinstance(addresses, int)
    return events, addresses


@pytest.mark.parametrize("wrong_us", [0, IN_2099_US])
async def test_retention_counts_from_the_repair_after_delivery_with_a_wrong_clock(
    tmp_path: Path, wrong_us: int
) -> None:
    async with outbox_on(tmp_path, clock=WallClock(), retention=DAYS_KEPT) as rig:
        await delivered_at(rig, wrong_us)
        left = [await run_upkeep(rig)]
        for days in (6, 2, 23):
            rig.clock.now_us += days * DAY_US
            left.append(await run_upkeep(rig))
    assert left == [(2, 1), (2, 1), (2, 0), (0, 0)]


async def test_dead_letter_discarded_in_2099_is_purged_in_time(tmp_path: Path) -> None:
    async with outbox_on(tmp_path, clock=WallClock(RIGHT_US), retention=DAYS_KEPT) as rig:
        await rig.capture(session("one"))
        await rig.refuse(*(await rig.window()).events)
        rig.clock.now_us = IN_2099_US
        await rig.outbox.dead_letters.discard("epoch-1", 1)
        rig.clock.now_us = RIGHT_US
        await run_upkeep(rig)
        rig.clock.now_us += 31 * DAY_US
        assert await run_upkeep(rig) == (0, 0)


async def test_clock_before_2025_repairs_nothing(tmp_path: Path) -> None:
    """On a machine booted in 1970, yesterday's deliveries would look impossible, and later old."""
    async with outbox_on(tmp_path, clock=WallClock(), retention=DAYS_KEPT) as rig:
        await delivered_at(rig, RIGHT_US - DAY_US)
        rig.clock.now_us = 0
        await run_upkeep(rig)
        rig.clock.now_us = RIGHT_US
        assert await run_upkeep(rig) == (2, 1)


async def test_plausible_times_are_unchanged(tmp_path: Path) -> None:
    async with outbox_on(tmp_path, clock=WallClock(), retention=DAYS_KEPT) as rig:
        await delivered_at(rig, RIGHT_US - DAY_US)
        await rig.outbox.retention.repair_times()
    assert query(tmp_path, "SELECT delivered_at_us FROM delivery") == [(RIGHT_US - DAY_US,)]
