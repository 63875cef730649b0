"""Periodic store maintenance, independent of captures."""

import logging

from agent.store.files.storage_errors import StorageError
from agent.store.store import Store
from agent.store.writer import Writer
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
UPKEEP_SECONDS = 5


class Upkeep:
    """Runs store maintenance and logs changes of the storage state."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._trouble: str | None = None

    async def keep_up_once(self) -> None:
        """Run maintenance once; log a storage error when it first occurs and when it is over."""
        try:
            await self._writer.run(_keep_up)
        except StorageError as trouble:
            self._note(trouble)
        else:
            self._note(None)

    def _note(self, trouble: StorageError | None) -> None:
        kind = None if trouble is None else type(trouble).__name__
        if kind == self._trouble:
            return
        self._trouble = kind
        if trouble is None:
            log_event(_log, logging.INFO, "storage.recovered")
        else:
            log_event(_log, logging.ERROR, "storage.trouble", reason=str(trouble))


def _keep_up(store: Store) -> None:
    store.keep_up()
    store.require_room()
