"""Retention after delivery: erases addresses and purges events, a few at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_fixed

from agent.store.access import StoreAccess
from agent.store.crypto.old_keys import destroy_old_keys, read_old_keys
from agent.store.files.quarantine import list_unfinished
from agent.store.retention.delivery_times import DAY_US, has_impossible_times, repair_times
from agent.store.retention.erase import (
    erase_addresses,
    erase_below_watermark,
    find_settled_individually,
)
from agent.store.retention.erase_digests import (
    erase_digests,
    erase_digests_below_watermark,
    find_digests_ended_individually,
)
from agent.store.retention.needed_keys import find_needed_keys
from agent.store.retention.purge import Candidates, find_purgeable, purge
from agent.store.retention.superseded_copies import find_superseded
from agent.store.store import Store
from sync.runtime.files.migration_copies import delete_migration_copy, list_migration_copies
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
# One scrub a minute: after ten minutes, an hour, a day, a week.
_WARN_AFTER_SCRUBS = (10, 60, 1_440, 10_080)
# A till repeats an answer within minutes, or when it is switched on again the next morning.
_DIGEST_DAYS = 1
# Readers are short: a page of the outbox, a status.
_SCRUB_ATTEMPTS = 5
_SCRUB_RETRY_SECONDS = 1.0
# Time in microseconds since 1970, as `RetentionClock`.
RetentionNow: TypeAlias = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class RetentionDays:
    """Days to keep captures, and (`email_days`) addresses, after delivery."""

    delivered_days: float
    email_days: float


class Retention:
    """Bounded steps, so that no till has to wait. Every method raises `OutboxUnavailable`."""

    def __init__(
        self,
        store: StoreAccess,
        days: RetentionDays,
        now_us: Callable[[], int],
        retention_clock: RetentionNow,
    ) -> None:
        self._store = store
        self._days = days
        self._now_us = now_us
        self._retention_clock = retention_clock
        self._examined_through = 0
        self._waiting_scrubs = 0

    async def erase_once(self) -> bool:
        """Erase some addresses past their retention; return whether more remain."""
        kept_us = round(self._days.email_days * DAY_US)
        cutoff_us = await self._before_us(kept_us) if kept_us else None
        if await self._store.write_hot(erase_below_watermark, cutoff_us):
            return True
        positions = await self._store.read_hot(find_settled_individually, cutoff_us)
        return bool(positions) and await self._store.write_hot(erase_addresses, positions)

    async def erase_digests_once(self) -> bool:
        """Erase some digests a day after their address; return whether more remain."""
        kept_us = round((self._days.email_days + _DIGEST_DAYS) * DAY_US)
        cutoff_us = await self._before_us(kept_us)
        if await self._store.write_hot(erase_digests_below_watermark, cutoff_us):
            return True
        positions = await self._store.read_hot(find_digests_ended_individually, cutoff_us)
        return bool(positions) and await self._store.write_hot(erase_digests, positions)

    async def scrub(self) -> bool:
        """Scrub the WAL; retry for some seconds if a reader still needs it. See `scrub_once`.

        A reader that stays keeps erased data in the file: the log says so, ever more rarely.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_SCRUB_ATTEMPTS),
            wait=wait_fixed(_SCRUB_RETRY_SECONDS),
            retry=retry_if_result(lambda is_done: not is_done),
            retry_error_callback=lambda _: False,
        )
        is_done: bool = await retrying(self.scrub_once)
        self._waiting_scrubs = 0 if is_done else self._waiting_scrubs + 1
        if self._waiting_scrubs in _WARN_AFTER_SCRUBS:
            log_event(_log, logging.WARNING, "store.erasure_waits", attempts=self._waiting_scrubs)
        return is_done

    async def scrub_once(self) -> bool:
        """Overwrite erased data in the WAL; return False if that must wait.

        Writes nothing if nothing was erased since the last time.
        """
        has_begun = await self._store.run(Store.begin_scrub)
        if not has_begun:
            return has_begun is None
        following: int | None = 0
        while following is not None:
            following = await self._store.run(Store.scrub_step, following)
        return True

    async def delete_superseded_copies(self) -> None:
        """Delete each copy made before a migration once its pending events are settled."""
        database = self._store.database
        if not await asyncio.to_thread(list_migration_copies, database):
            return
        for copy in await self._store.read_hot(find_superseded, database):
            await asyncio.to_thread(_delete_copy, copy)

    async def destroy_old_keys(self) -> None:
        """Destroy each old encryption key that nothing stored needs any more."""
        database = self._store.database
        old = await asyncio.to_thread(read_old_keys, database.parent)
        if not old:
            return
        # Before the query, which does not see captures that are encrypted from now on.
        in_use = await self._store.run(lambda store: store.vault.header)
        headers = [vault.header for vault in old]
        needed = await self._store.read_hot(find_needed_keys, database, in_use, headers)
        await self._store.run(_destroy_old_keys, needed | {in_use})

    async def purge_once(self) -> bool:
        """Delete some events past their retention; return whether more may remain."""
        cutoff_us = await self._before_us(round(self._days.delivered_days * DAY_US))
        examined_through = self._examined_through
        candidates = await self._store.read_hot(find_purgeable, cutoff_us, examined_through)
        self._examined_through = candidates.answers.through
        if not (candidates.events or candidates.deliveries or candidates.answers.removable):
            return False
        return await self._store.run(_purge, candidates, cutoff_us)

    async def make_room_once(self) -> bool:
        """Purge some delivered events early if room gets short; return whether more may be."""
        return await self._store.run(Store.make_room)

    async def repair_times(self) -> None:
        """Replace impossible delivery times by now, so that retention counts from now on."""
        now_us = self._now_us()
        if await self._store.read(has_impossible_times, now_us):
            await self._store.write(repair_times, now_us)

    async def _before_us(self, kept_us: int) -> int:
        """Return the time `kept_us` ago, by a clock that gains no time that has not passed."""
        return await self._retention_clock() - kept_us


def _delete_copy(copy: Path) -> None:
    try:
        delete_migration_copy(copy)
    except OSError as error:
        log_event(_log, logging.WARNING, "store.copy_kept", copy=str(copy), reason=error.strerror)
    else:
        log_event(_log, logging.INFO, "store.copy_deleted", copy=str(copy))


def _destroy_old_keys(store: Store, needed: set[bytes]) -> None:
    # In the writer's thread, which is the one that begins to use another key, and that quarantines
    # a database: one that it did since the query may hold addresses of any key.
    if list_unfinished(store.directory):
        return
    try:
        destroy_old_keys(store.directory, needed | {store.vault.header})
    except OSError as error:
        log_event(_log, logging.WARNING, "store.old_key_kept", reason=str(error))
        return
    store.adopt_vault(store.vault.with_old(read_old_keys(store.directory)))


def _purge(store: Store, candidates: Candidates, cutoff_us: int) -> bool:
    store.clear_cache()
    return store.run(purge, candidates, cutoff_us)
