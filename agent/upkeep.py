"""What the store needs done from time to time, captures or not."""

import logging

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agent.logs import log_event
from agent.store.store import Store
from agent.store.troubles import StorageTrouble
from agent.store.writer import Writer

_log = logging.getLogger(__name__)
UPKEEP_SECONDS = 5


class Upkeep:
    """Keeps the store in order every few seconds, and says when its state changes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._trouble: str | None = None

    async def keep_up_once(self) -> None:
        """Do what is due; trouble is logged when it begins and when it ends."""
        try:
            await self._writer.run(_keep_up)
        except StorageTrouble as trouble:
            self._note(str(trouble))
        else:
            self._note(None)

    def _note(self, trouble: str | None) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            log_event(_log, logging.INFO, "storage.recovered")
        else:
            log_event(_log, logging.ERROR, "storage.trouble", reason=trouble)


def schedule_upkeep(scheduler: AsyncIOScheduler, upkeep: Upkeep) -> None:
    """Have it run every `UPKEEP_SECONDS`.

    A run that comes late (the machine slept, the clock was set) is made up for once.
    """
    scheduler.add_job(
        upkeep.keep_up_once,
        "interval",
        seconds=UPKEEP_SECONDS,
        misfire_grace_time=None,
        coalesce=True,
        max_instances=1,
    )


def _keep_up(store: Store) -> None:
    store.keep_up()
    store.require_room()
