"""Deletes copies of a SQLite ledger made before a migration, some days later.

A copy is there to go back to if an upgrade fails. It holds addresses that neither `forget` nor the
retention of events reaches, so it is not kept for ever.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from sync.runtime.files.migration_copies import delete_migration_copy, list_migration_copies
from sync.runtime.logging import log_event
from sync.runtime.scheduler import running_daily

_log = logging.getLogger(__name__)
COPY_DAYS = 14
_DAY_SECONDS = 86_400.0


@asynccontextmanager
async def deleting_old_copies(
    database: Path | None, now: Callable[[], Awaitable[datetime]]
) -> AsyncIterator[None]:
    """Delete old copies of `database` at start and then daily; None: no SQLite file, nothing."""
    if database is None:
        yield
        return

    async def run_once() -> None:
        await asyncio.to_thread(delete_old_copies, database, await now())

    with running_daily(run_once):
        yield


def delete_old_copies(database: Path, now: datetime) -> None:
    """Delete the copies of `database` that are older than `COPY_DAYS`."""
    for copy in list_migration_copies(database):
        if now.timestamp() - copy.made_at_us / 1e6 < COPY_DAYS * _DAY_SECONDS:
            continue
        try:
            delete_migration_copy(copy.path)
        except OSError as error:
            reason = error.strerror or ""
            log_event(_log, logging.WARNING, "hq.copy_kept", copy=str(copy.path), reason=reason)
        else:
            log_event(_log, logging.INFO, "hq.copy_deleted", copy=str(copy.path))
