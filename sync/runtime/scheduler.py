"""When periodic work is done: intervals that hold whatever happens to the wall clock."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler

LOOK_SECONDS = 1.0
_STEP_SECONDS = 1.0


class Schedule:
    """Runs bounded passes at intervals, from `start` to `stop`, in the running event loop.

    APScheduler plans by the wall clock: set back by a day, it would sleep for a day. So the
    two clocks are compared every `LOOK_SECONDS`, and after a step every pass is due at once.
    A run that comes late is made up for once; a pass never runs twice at a time.
    """

    def __init__(self, wall_seconds: Callable[[], float] = time.time) -> None:
        self._wall_seconds = wall_seconds
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._look_handle: asyncio.TimerHandle | None = None
        self._lead_seconds = self._lead()

    def every(
        self,
        seconds: float,
        work: Callable[[], Awaitable[object]],
        *,
        first_after_seconds: float | None = None,
    ) -> None:
        """Have `work` done every `seconds`, for the first time after one of them.

        Machines that start in one moment, as after a power cut, stay apart for ever where each
        has a `first_after_seconds` of its own.
        """
        first_after = seconds if first_after_seconds is None else first_after_seconds
        self._scheduler.add_job(
            work,
            "interval",
            seconds=seconds,
            next_run_time=datetime.fromtimestamp(self._wall_seconds() + first_after, UTC),
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )

    def start(self) -> None:
        """Begin to run what was planned."""
        self._loop = asyncio.get_running_loop()
        self._scheduler.start()
        self._look_later()

    def stop(self) -> None:
        """Start nothing more; what runs is not waited for. Twice is harmless."""
        if self._look_handle is not None:
            self._look_handle.cancel()
            self._look_handle = None
            self._scheduler.shutdown(wait=False)

    def look_at_clocks(self) -> None:
        """Make every pass due at once if the wall clock was set since the last look."""
        lead = self._lead()
        if abs(lead - self._lead_seconds) > _STEP_SECONDS:
            for job in self._scheduler.get_jobs():
                job.modify(next_run_time=datetime.fromtimestamp(self._wall_seconds(), UTC))
        self._lead_seconds = lead

    def _look_later(self) -> None:
        self._look_handle = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self.look_at_clocks()
        self._look_later()

    def _lead(self) -> float:
        return self._wall_seconds() - time.monotonic()
