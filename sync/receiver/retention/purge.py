"""Retention: deletes expired events, oldest first, in small transactions.

The numbers of an epoch are purged in order, so that one number, `purged_through`, accounts for all
of them: nothing up to it counts as missing. A digest of each purged event tells its repeat from
another event. Numbers that are missing by then are first recorded in `gaps`, and gaps are never
purged; one that arrives after all is stored ("late", as below).

Rejected events are not accepted yet, and agents resend them daily: they are neither purged nor do
they block the numbers behind them. An event accepted later is purged once its own retention period
is over ("late", below `purged_through`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.db.database import Database
from sync.receiver.db.paging import store_ids_in
from sync.receiver.db.tables import agents, hours
from sync.receiver.retention.epoch_purge import purgeable_epochs
from sync.runtime.logging import log_event
from sync.runtime.retention_clock import RetentionClock
from sync.runtime.scheduler import running_daily

_log = logging.getLogger(__name__)


@asynccontextmanager
async def purging_daily(
    days: int,
    database: Database,
    now: Callable[[], datetime],
    retention_clock: RetentionClock | None = None,
) -> AsyncIterator[None]:
    """Purge at start and then daily while the block runs; `days` is the retention, 0 for none.

    Retention goes by `retention_clock`, by default the wall clock `now`.
    """
    if not days:
        yield
        return
    running = asyncio.Lock()

    async def run_once() -> None:
        async with running:
            at = now()
            passed = await retention_clock.utc() if retention_clock else at
            await _purge_and_log(database, passed - timedelta(days=days), at)

    try:
        with running_daily(run_once):
            yield
    finally:
        # The transaction of a cancelled run must end before the database is closed.
        async with running:
            pass


async def _purge_and_log(database: Database, received_before: datetime, at: datetime) -> None:
    try:
        purged = await purge(database, received_before, at)
        await purge_hours(database, received_before)
        if purged:
            await database.truncate_log()
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        log_event(_log, logging.WARNING, "hq.purge_failed", reason=str(reason))
    else:
        if purged:
            log_event(_log, logging.INFO, "hq.purged", events=purged)


async def purge(database: Database, received_before: datetime, at: datetime) -> int:
    """Delete the events received before `received_before`, in sequence order per epoch.

    Return the number of sequence numbers purged. A late event blocks those behind it until its own
    retention period is over. Safe to interrupt, and to run in two processes at once.
    """
    purged = 0
    async for store_id in store_ids_in(database, [agents]):
        find = partial(purgeable_epochs, store_id=store_id, received_before=received_before)
        for epoch in await database.read(find):
            if epoch.has_late:
                delete_late = partial(epoch.delete_late, received_before=received_before)
                while done := await database.write(delete_late):
                    purged += done
            delete_next = partial(epoch.delete_next, received_before=received_before, at=at)
            while done := await database.write(delete_next):
                purged += done
    return purged


async def purge_hours(database: Database, before: datetime) -> None:
    """Delete the hourly rollups that started before `before`; the charts show only newer ones.

    Safe to interrupt, and to run in two processes at once.
    """
    async for store_id in store_ids_in(database, [hours]):
        old = delete(hours).where(hours.c.store_id == store_id, hours.c.hour < before)
        await database.write(partial(Connection.execute, statement=old))
