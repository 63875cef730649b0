"""Database access of the outbox: reads beside the writer, writes through it."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.store.crypto.vault import UnusableKey
from agent.store.db.read_only import read_only
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
    storage_error_from,
)
from agent.store.store import Store
from agent.store.writer import Writer
from sync.delivery.outbox import OutboxUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """Raises `OutboxUnavailable` on every storage failure; nothing is lost then."""

    directory: Path
    writer: Writer

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `question`, which only reads."""
        try:
            return await asyncio.to_thread(self._ask, question)
        except StorageDamagedError:
            # Retry on the writer's connection, which quarantines a damaged file.
            return await self.change(question)
        except StorageError as trouble:
            raise OutboxUnavailable(str(trouble)) from trouble

    async def change(
        self, chore: Callable[[sqlite3.Connection], T], *, touches_captures: bool = False
    ) -> T:
        """Run `chore` in its own transaction; committed and synced on return."""
        return await self.run(lambda store: store.run(chore, touches_captures=touches_captures))

    async def run(self, work: Callable[[Store], T]) -> T:
        """Run `work` in the writer's thread.

        On a full disk it is retried once, since the store has then freed its ballast.
        """
        try:
            try:
                return await self.writer.run(work)
            except StorageFullError:
                return await self.writer.run(work)
        except StorageError as trouble:
            raise OutboxUnavailable(str(trouble)) from trouble

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with read_only(self.directory) as connection:
                return question(connection)
        except (sqlite3.Error, OSError) as error:
            raise storage_error_from(error, self.directory) from error
        except UnusableKey as error:
            raise StorageDownError(str(error)) from error
