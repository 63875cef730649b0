"""Periodic jobs: one run per interval, also after a wall clock step."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base

from sync.runtime.scheduler import Scheduler

HOUR = 3600.0


class Wall:
    """A settable wall clock for the schedule and for APScheduler."""

    def __init__(self) -> None:
        self.lead = timedelta()

    def seconds(self) -> float:
        return self.now().timestamp()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.lead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """Patch APScheduler to read this clock."""
    clock = Wall()

    class Settable(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Settable":
            return cls.fromtimestamp(clock.seconds(), tz)

    monkeypatch.setattr(base, "datetime", Settable)
    return clock


class Counted:
    """A job that counts its runs."""

    def __init__(self) -> None:
        self.ran = asyncio.Event()
        self.count = 0

    async def once(self) -> None:
        self.count += 1
        self.ran.set()


@pytest.fixture
async def schedule(wall: Wall) -> AsyncIterator[Scheduler]:
    plan = Scheduler(wall_seconds=wall.seconds)
    yield plan
    plan.stop()


async def test_job_runs_repeatedly(schedule: Scheduler) -> None:
    work = Counted()
    schedule.every(0.01, work.once)
    schedule.start()

    for _ in range(3):
        work.ran.clear()
        await asyncio.wait_for(work.ran.wait(), 5)

    assert work.count >= 3


@pytest.mark.parametrize("step_hours", [-24 * 365, -1, 1, 24 * 365])
async def test_job_is_due_immediately_after_a_wall_clock_step(
    schedule: Scheduler, wall: Wall, step_hours: float
) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    schedule.start()

    wall.lead = timedelta(hours=step_hours)
    schedule.check_clocks()

    await asyncio.wait_for(work.ran.wait(), 5)
    assert work.count == 1


async def test_wall_clock_step_between_scheduling_and_start_is_detected(
    schedule: Scheduler, wall: Wall
) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    wall.lead = timedelta(days=-365)
    schedule.start()

    schedule.check_clocks()

    await asyncio.wait_for(work.ran.wait(), 5)


async def test_first_run_can_differ_from_the_interval(schedule: Scheduler) -> None:
    soon, later = Counted(), Counted()
    schedule.every(HOUR, soon.once, first_after_seconds=0.01)
    schedule.every(HOUR, later.once, first_after_seconds=HOUR / 2)
    schedule.start()

    await asyncio.wait_for(soon.ran.wait(), 5)

    assert (soon.count, later.count) == (1, 0)


async def test_interval_continues_after_the_first_run(schedule: Scheduler) -> None:
    work = Counted()
    schedule.every(0.01, work.once, first_after_seconds=0.0)
    schedule.start()

    for _ in range(3):
        work.ran.clear()
        await asyncio.wait_for(work.ran.wait(), 5)

    assert work.count >= 3


async def test_no_job_is_due_without_a_wall_clock_step(schedule: Scheduler, wall: Wall) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    schedule.start()

    schedule.check_clocks()
    await asyncio.sleep(0)

    assert work.count == 0


async def test_stop_cancels_a_job_in_progress_without_logging_an_error(
    schedule: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    schedule.every(HOUR, endless, first_after_seconds=0.0)
    schedule.start()
    await asyncio.wait_for(started.wait(), 5)

    schedule.stop()
    await asyncio.wait_for(ended.wait(), 5)
    # APScheduler's callback of the ended task runs in the next turn of the loop.
    await asyncio.sleep(0)

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_stop_is_idempotent(wall: Wall) -> None:
    schedule = Scheduler(wall_seconds=wall.seconds)
    schedule.start()

    schedule.stop()
    schedule.stop()


async def test_millions_of_missed_runs_are_one_run_and_no_stall(
    schedule: Scheduler, wall: Wall
) -> None:
    wall.lead = -timedelta(days=60)
    job = Counted()
    schedule.every(1.0, job.once, first_after_seconds=0.1)
    schedule.start()
    began = asyncio.get_running_loop().time()

    # APScheduler wakes up for the first run before the clocks are compared.
    wall.lead = timedelta()
    await job.ran.wait()

    assert job.count == 1
    assert asyncio.get_running_loop().time() - began < 3
