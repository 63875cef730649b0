"""Periodic jobs: one run per interval, also after a wall clock step."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from apscheduler.schedulers import base
from apscheduler.triggers.interval import IntervalTrigger

from sync.runtime.scheduler import Scheduler
from tests.support.patience import PATIENCE_SECONDS

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
        await asyncio.wait_for(work.ran.wait(), PATIENCE_SECONDS)

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

    await asyncio.wait_for(work.ran.wait(), PATIENCE_SECONDS)
    assert work.count == 1


async def test_wall_clock_step_between_scheduling_and_start_is_detected(
    schedule: Scheduler, wall: Wall
) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    wall.lead = timedelta(days=-365)
    schedule.start()

    schedule.check_clocks()

    await asyncio.wait_for(work.ran.wait(), PATIENCE_SECONDS)


async def test_first_run_can_differ_from_the_interval(schedule: Scheduler) -> None:
    soon, later = Counted(), Counted()
    schedule.every(HOUR, soon.once, first_after_seconds=0.01)
    schedule.every(HOUR, later.once, first_after_seconds=HOUR / 2)
    schedule.start()

    await asyncio.wait_for(soon.ran.wait(), PATIENCE_SECONDS)

    assert (soon.count, later.count) == (1, 0)


async def test_interval_continues_after_the_first_run(schedule: Scheduler) -> None:
    work = Counted()
    schedule.every(0.01, work.once, first_after_seconds=0.0)
    schedule.start()

    for _ in range(3):
        work.ran.clear()
        await asyncio.wait_for(work.ran.wait(), PATIENCE_SECONDS)

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
    await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)

    schedule.stop()
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    # APScheduler's callback of the ended task runs in the next turn of the loop.
    await asyncio.sleep(0)

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_stop_is_idempotent(wall: Wall) -> None:
    schedule = Scheduler(wall_seconds=wall.seconds)
    schedule.start()

    schedule.stop()
    schedule.stop()


class RunListError(Exception):
    """APScheduler asked for more runs than a step may cost."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Record when APScheduler asks an interval for its next run; raise after 100 times."""
    found: list[datetime] = []
    get_next = IntervalTrigger.get_next_fire_time

    def get_next_fire_time(trigger: object, previous: datetime | None, now: datetime) -> datetime:
        found.append(now)
        if len(found) > 100:
            raise RunListError
        following: datetime = get_next(trigger, previous, now)
        return following

    monkeypatch.setattr(IntervalTrigger, "get_next_fire_time", get_next_fire_time)
    return found


# As those of both programs' jobs.
INTERVALS = (5, 30, 60, 600, HOUR, 24 * HOUR)
# Jobs keep their phase: with this odd rest none is due a second time soon after.
REST = timedelta(minutes=7, seconds=0.5)


@pytest.mark.parametrize("years", [-56, -20, -1, 1, 5, 20, 56])
async def test_step_of_the_wall_clock_costs_one_run_of_each_job_if_it_is_noticed_first(
    schedule: Scheduler, wall: Wall, asked: list[datetime], years: int
) -> None:
    jobs = [Counted() for _ in INTERVALS]
    for seconds, work in zip(INTERVALS, jobs, strict=True):
        schedule.every(seconds, work.once)
    schedule.start()

    wall.lead = timedelta(days=365 * years) + REST
    schedule.check_clocks()
    schedule.check_clocks()

    await asyncio.wait_for(asyncio.gather(*(work.ran.wait() for work in jobs)), 5)
    schedule.check_clocks()
    await asyncio.sleep(0.01)
    assert [work.count for work in jobs] == [1] * len(jobs)
    assert len(asked) <= 4 * len(jobs)


@pytest.mark.parametrize("years", [1, 5, 20, 56])
async def test_step_forward_costs_one_run_of_each_job_if_the_timer_fires_first(
    schedule: Scheduler, wall: Wall, asked: list[datetime], years: int
) -> None:
    """The worst moment: the scheduler wakes up before the clocks are compared."""
    jobs = [Counted() for _ in INTERVALS]
    first = Counted()
    for seconds, work in zip(INTERVALS, jobs, strict=True):
        schedule.every(seconds, work.once)
    schedule.every(HOUR, first.once, first_after_seconds=0.01)
    schedule.start()

    wall.lead = timedelta(days=365 * years) + REST
    jobs = [*jobs, first]
    await asyncio.wait_for(asyncio.gather(*(work.ran.wait() for work in jobs)), 5)
    schedule.check_clocks()
    schedule.check_clocks()
    await asyncio.sleep(0.01)

    assert [work.count for work in jobs] == [1] * len(jobs)
    assert len(asked) <= 4 * len(jobs)


async def test_job_that_is_not_due_is_not_run_after_a_small_step(
    schedule: Scheduler, wall: Wall
) -> None:
    work = Counted()
    schedule.every(HOUR, work.once)
    schedule.start()

    wall.lead = timedelta(minutes=10)
    schedule.check_clocks()
    await asyncio.sleep(0.01)

    assert work.count == 0


async def test_small_step_forward_makes_a_job_due_that_was_not(
    schedule: Scheduler, wall: Wall
) -> None:
    """The scheduler's own timer would sleep for the rest of the hour."""
    work = Counted()
    schedule.every(HOUR, work.once, first_after_seconds=HOUR / 2)
    schedule.start()

    wall.lead = timedelta(minutes=29, seconds=59.9)
    schedule.check_clocks()

    await asyncio.wait_for(work.ran.wait(), PATIENCE_SECONDS)


async def test_job_keeps_its_interval_after_a_step_back(schedule: Scheduler, wall: Wall) -> None:
    work = Counted()
    schedule.every(0.01, work.once)
    schedule.start()
    wall.lead = timedelta(days=-20 * 365)
    schedule.check_clocks()

    for _ in range(3):
        work.ran.clear()
        await asyncio.wait_for(work.ran.wait(), PATIENCE_SECONDS)


def test_no_other_module_uses_the_library() -> None:
    root = Path(__file__).parents[3]
    modules = [path for part in ("agent", "sync") for path in (root / part).rglob("*.py")]
    imports = re.compile(r"^\s*(from|import) apscheduler", re.MULTILINE)

    users = [path for path in modules if imports.search(path.read_text("utf-8"))]

    assert users == [root / "sync/runtime/scheduler.py"]


async def test_millions_of_missed_runs_are_one_run_and_no_stall(
    schedule: Scheduler, wall: Wall
) -> None:
    wall.lead = -timedelta(days=60)
    job = Counted()
    schedule.every(1.0, job.once, first_after_seconds=0.1)
    schedule.start()
    began = time.thread_time()

    # APScheduler wakes up for the first run before the clocks are compared.
    wall.lead = timedelta()
    await job.ran.wait()

    assert job.count == 1
    assert time.thread_time() - began < 3
