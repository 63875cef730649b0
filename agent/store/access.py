"""The outbox's way to the file: questions beside the writer, changes through it."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.store.crypto.vault import UnusableKey
from agent.store.db.read_only import read_only
from agent.store.files.storage_errors import (
    StorageDamaged,
    StorageDown,
    StorageFull,
    StorageTrouble,
    trouble_of,
)
from agent.store.store import Store
from agent.store.writer import Writer
from sync.delivery.outbox import OutboxUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutboxStorage:
    """Raises `OutboxUnavailable` wherever the storage fails; nothing is lost then."""

    directory: Path
    writer: Writer

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer to `question`, which only reads."""
        try:
            return await asyncio.to_thread(self._ask, question)
        except StorageDamaged:
            # Once more on the writer's connection: it sets aside a file that is damaged.
            return await self.change(question)
        except StorageTrouble as trouble:
            raise OutboxUnavailable(str(trouble)) from trouble

    async def change(
        self, chore: Callable[[sqlite3.Connection], T], *, touches_captures: bool = False
    ) -> T:
        """Run `chore` in a transaction of its own: on the disk when this returns."""
        return await self.run(lambda store: store.run(chore, touches_captures=touches_captures))

    async def run(self, work: Callable[[Store], T]) -> T:
        """Run `work` in the writer's thread.

        What fails on a full disk is tried once more: the store has given up its ballast.
        """
        try:
            try:
                return await self.writer.run(work)
            except StorageFull:
                return await self.writer.run(work)
        except StorageTrouble as trouble:
            raise OutboxUnavailable(str(trouble)) from trouble

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with read_only(self.directory) as connection:
                return question(connection)
        except (sqlite3.Error, OSError) as error:
            raise trouble_of(error, self.directory) from error
        except UnusableKey as error:
            raise StorageDown(str(error)) from error
