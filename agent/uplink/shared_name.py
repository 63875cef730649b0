"""Two machines under one store and till id: each begins an epoch of its own, once a boot.

Both numbered their captures in the same epoch, as long as neither knew. From then on no receipt is
given out twice.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.store.access import StoreAccess
from agent.store.files.shared_name_note import SharedNote, read_shared_note, write_shared_note
from agent.store.outbox.rewind import begin_own_epoch
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


class SharedName:
    """Acts on head office's answers about the name. Not thread-safe; event loop only."""

    def __init__(
        self, storage: StoreAccess, directory: Path, boot_id: str, now_us: Callable[[], int]
    ) -> None:
        """Read the note of an earlier process."""
        self._storage = storage
        self._directory = directory
        self._boot_id = boot_id
        self._now_us = now_us
        self._note = read_shared_note(directory)

    @property
    def since_us(self) -> int | None:
        """When head office first said that another machine uses this name; None if it does not."""
        return None if self._note is None else self._note.since_us

    async def on_answer(self, *, is_shared: bool) -> None:
        """Begin an epoch if head office has heard another machine. Raises `OutboxUnavailable`."""
        if not is_shared:
            if self._note is not None:
                await self._keep(None)
                log_event(_log, logging.INFO, "name.no_longer_shared")
            return
        if self._note is not None and self._note.boot_id == self._boot_id:
            return
        epoch = await self._storage.run(begin_own_epoch, self._now_us())
        since_us = self._now_us() if self._note is None else self._note.since_us
        await self._keep(SharedNote(self._boot_id, since_us))
        log_event(_log, logging.ERROR, "name.shared", epoch=epoch)

    async def _keep(self, note: SharedNote | None) -> None:
        self._note = note
        await asyncio.to_thread(write_shared_note, self._directory, note)
