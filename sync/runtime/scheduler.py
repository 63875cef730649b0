"""Periodic jobs on APScheduler, robust against changes of the wall clock."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import wraps

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

CHECK_SECONDS = 1.0
_DAY_SECONDS = 86_400.0
_MIN_STEP_SECONDS = 1.0


class Scheduler:
    """Runs jobs at intervals in the running event loop, from `start` to `stop`.

    APScheduler schedules by the wall clock: after a step back by a day it would sleep for a
    day. So wall clock and monotonic clock are compared every `CHECK_SECONDS`, and after a step
    every job whose time it moved is due immediately. Missed runs are one; runs of a job never
    overlap.
    """

    def __init__(self, wall_seconds: Callable[[], float] = time.time) -> None:
        self._wall_seconds = wall_seconds
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._check_handle: asyncio.TimerHandle | None = None
        self._difference_seconds = self._wall_minus_monotonic()

    def every(
        self,
        seconds: float,
        work: Callable[[], Awaitable[object]],
        *,
        first_after_seconds: float | None = None,
    ) -> None:
        """Run `work` every `seconds`, first after `first_after_seconds` (default: `seconds`).

        Give each machine its own `first_after_seconds` to keep machines apart that start at
        the same time, as after a power cut.
        """

        @wraps(work)
        async def run() -> None:
            # Only `stop` cancels a run. APScheduler would log that as an error with a traceback.
            with suppress(asyncio.CancelledError):
                await work()

        first_after = seconds if first_after_seconds is None else first_after_seconds
        self._scheduler.add_job(
            run,
            _Interval(seconds=seconds, timezone=UTC),
            next_run_time=datetime.fromtimestamp(self._wall_seconds() + first_after, UTC),
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )

    def start(self) -> None:
        """Start running the jobs."""
        self._loop = asyncio.get_running_loop()
        self._scheduler.start()
        self._check_later()

    def stop(self) -> None:
        """Start no more runs; cancel those in progress, without waiting. Idempotent."""
        if self._check_handle is not None:
            self._check_handle.cancel()
            self._check_handle = None
            self._scheduler.shutdown(wait=False)

    def check_clocks(self) -> None:
        """Put the jobs right if the wall clock was set since the last call.

        A job that is not within its interval from now is due immediately: it was before the step
        back, or is overdue. A run that APScheduler started itself after the step is not repeated.
        """
        difference = self._wall_minus_monotonic()
        if abs(difference - self._difference_seconds) > _MIN_STEP_SECONDS:
            now = datetime.fromtimestamp(self._wall_seconds(), UTC)
            for job in self._scheduler.get_jobs():
                if not now < job.next_run_time <= now + job.trigger.interval:
                    job.modify(next_run_time=now)
            # Its timer runs by the monotonic clock, for as long as the time before the step said.
            self._scheduler.wakeup()
        self._difference_seconds = difference

    def _check_later(self) -> None:
        self._check_handle = self._loop.call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        self.check_clocks()
        self._check_later()

    def _wall_minus_monotonic(self) -> float:
        return self._wall_seconds() - time.monotonic()


@contextmanager
def running_daily(work: Callable[[], Awaitable[object]]) -> Iterator[None]:
    """Run `work` at once and then daily while the block runs; its end cancels a run."""
    scheduler = Scheduler()
    scheduler.every(_DAY_SECONDS, work, first_after_seconds=0)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.stop()


class _Interval(IntervalTrigger):  # type: ignore[misc] # the library has no types
    """An interval that skips missed runs but the last.

    APScheduler lists every missed run before it coalesces them: after a step of the wall clock from
    1970 to today that list would fill the memory.
    """

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next run; the last missed one if there are several."""
        following: datetime = super().get_next_fire_time(previous_fire_time, now)
        interval: timedelta = self.interval
        return following + max((now - following) // interval, 0) * interval
