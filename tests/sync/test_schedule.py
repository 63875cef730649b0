"""Intervals: once each, made up for when late, and alive after the wall clock was set."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base

from sync.runtime.scheduler import Schedule

HOUR = 3600.0


class Wall:
    """A wall clock that can be set, for the schedule and for APScheduler alike."""

    def __init__(self) -> None:
        self.lead = timedelta()

    def seconds(self) -> float:
        return self.now().timestamp()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.lead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """Let APScheduler read this clock."""
    clock = Wall()

    class Settable(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Settable":
            return cls.fromtimestamp(clock.seconds(), tz)

    monkeypatch.setattr(base, "datetime", Settable)
    return clock


class Counted:
    """A pass that says when it ran."""

    def __init__(self) -> None:
        self.ran = asyncio.Event()
        self.count = 0

    async def once(self) -> None:
        self.count += 1
        self.ran.set()


@pytest.fixture
async def schedule(wall: Wall) -> AsyncIterator[Schedule]:
    plan = Schedule(wall_seconds=wall.seconds)
    yield plan
    plan.stop()


async def test_a_pass_runs_again_and_again(schedule: Schedule) -> None:
    work = Counted()
    schedule.every(0.01, work.once)
    schedule.start()

    for _ in range(3):
        work.ran.clear()
        await asyncio.wait_for(work.ran.wait(), 5)

    assert work.count >= 3


@pytest.mark.parametrize("step_hours", [-24 * 365, -1, 1, 24 * 365])
async def test_a_pass_is_due_at_once_after_the_wall_clock_was_set(
    schedule: Schedule, wall: Wall, step_hours: float
) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    schedule.start()

    wall.lead = timedelta(hours=step_hours)
    schedule.look_at_clocks()

    await asyncio.wait_for(work.ran.wait(), 5)
    assert work.count == 1


async def test_a_wall_clock_set_between_planning_and_start_is_noticed_too(
    schedule: Schedule, wall: Wall
) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    wall.lead = timedelta(days=-365)
    schedule.start()

    schedule.look_at_clocks()

    await asyncio.wait_for(work.ran.wait(), 5)


async def test_first_time_can_be_another_than_after_a_whole_interval(schedule: Schedule) -> None:
    soon, later = Counted(), Counted()
    schedule.every(HOUR, soon.once, first_after_seconds=0.01)
    schedule.every(HOUR, later.once, first_after_seconds=HOUR / 2)
    schedule.start()

    await asyncio.wait_for(soon.ran.wait(), 5)

    assert (soon.count, later.count) == (1, 0)


async def test_interval_goes_on_from_the_first_time(schedule: Schedule) -> None:
    work = Counted()
    schedule.every(0.01, work.once, first_after_seconds=0.0)
    schedule.start()

    for _ in range(3):
        work.ran.clear()
        await asyncio.wait_for(work.ran.wait(), 5)

    assert work.count >= 3


async def test_a_clock_that_only_runs_makes_nothing_due(schedule: Schedule, wall: Wall) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    schedule.start()

    schedule.look_at_clocks()
    await asyncio.sleep(0)

    assert work.count == 0


async def test_stopping_twice_is_harmless(wall: Wall) -> None:
    schedule = Schedule(wall_seconds=wall.seconds)
    schedule.start()

    schedule.stop()
    schedule.stop()
