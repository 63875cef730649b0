"""Scheduled jobs: store maintenance, erasure, purge and retries of dead letters."""

import contextlib
import logging
from collections.abc import Awaitable, Callable

from agent.store.files.storage_errors import StorageError
from agent.store.outbox.dead_letter_queue import mark_key_lost_for_retry
from agent.store.outbox.outbox import StoreOutbox
from agent.store.store import Store
from agent.store.writer import Writer
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.outbox import OutboxUnavailable
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
MAINTENANCE_SECONDS = 5
# An erased address is in no file after this time, plus a retry if a reader holds the log.
SCRUB_SECONDS = 60


class StoreMaintenance:
    """Runs store maintenance and logs changes of the storage state.

    `restore_companions` makes lock and key again if they were removed, `renew_key` uses another key
    in the key file; in the writer's thread.
    """

    def __init__(
        self,
        writer: Writer,
        restore_companions: Callable[[], None],
        renew_key: Callable[[Store], bool],
    ) -> None:
        self._writer = writer
        self._restore_companions = restore_companions
        self._renew_key = renew_key
        self._error: str | None = None

    async def run_once(self) -> None:
        """Run maintenance once; log a storage error when it first occurs and when it is over."""
        try:
            await self._writer.run(self._maintain)
        except StorageError as error:
            self._log_change(error)
        else:
            self._log_change(None)

    def _maintain(self, store: Store) -> None:
        with contextlib.suppress(OSError, StorageError):
            self._restore_companions()
            if self._renew_key(store):
                store.run_in_session(mark_key_lost_for_retry)
        store.run_maintenance()
        store.require_room()

    def _log_change(self, error: StorageError | None) -> None:
        kind = None if error is None else type(error).__name__
        if kind == self._error:
            return
        self._error = kind
        if error is None:
            log_event(_log, logging.INFO, "storage.recovered")
        else:
            log_event(_log, logging.ERROR, "storage.failed", reason=str(error))


async def erase_addresses(outbox: StoreOutbox) -> None:
    """Erase the addresses that are due.

    Runs during a pass as well: on a slow line a pass can take hours.
    """
    with contextlib.suppress(OutboxUnavailable):
        await until_done(outbox.retention.erase_once)


async def scrub(outbox: StoreOutbox) -> None:
    """Overwrite erased addresses in the write-ahead log; delete superseded copies, too."""
    with contextlib.suppress(OutboxUnavailable):
        await outbox.retention.delete_superseded_copies()
        await outbox.retention.scrub()


async def purge(outbox: StoreOutbox) -> None:
    """Purge delivered events and digests of erased addresses past their retention."""
    with contextlib.suppress(OutboxUnavailable):
        await outbox.retention.repair_times()
        await until_done(outbox.retention.erase_digests_once)
        await outbox.retention.destroy_old_keys()
        await until_done(outbox.retention.purge_once)


async def make_room(outbox: StoreOutbox) -> None:
    """Purge the oldest delivered events ahead of their retention if the store is nearly full."""
    with contextlib.suppress(OutboxUnavailable):
        await until_done(outbox.retention.make_room_once)


async def save_results(outbox: StoreOutbox) -> None:
    """Write delivery results that the disk could not take when they came."""
    with contextlib.suppress(OutboxUnavailable):
        await outbox.save_results()


async def set_aside_stuck(outbox: StoreOutbox, days: int) -> None:
    """Make dead letters of the events that have been stuck for `days`; 0: never."""
    with contextlib.suppress(OutboxUnavailable):
        if days and (events := await outbox.dead_letters.set_aside_stuck(days)):
            log_event(_log, logging.WARNING, "event.set_aside", events=events, days=days)


async def retry_dead_letters(outbox: StoreOutbox, delivery: DeliveryLoop) -> None:
    """Deliver dead letters again that are due for a retry."""
    with contextlib.suppress(OutboxUnavailable):
        if await outbox.dead_letters.retry_due():
            delivery.wake()


async def wake(delivery: DeliveryLoop) -> None:
    """Start a pass. A coroutine, so that the scheduler runs it in the event loop."""
    delivery.wake()


async def until_done(step: Callable[[], Awaitable[bool]]) -> None:
    """Run the bounded step until it returns False; captures are written between two steps."""
    while await step():
        pass
