"""Checks the writer thread and reads the state of the database."""

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from agent.api.context import Context
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageError,
    storage_error_from,
)
from agent.store.queries.status import StorageStatus

CHECK_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the store: `error` is None if captures can be recorded; `store` if readable."""

    error: StorageError | None
    store: StorageStatus | None


async def read_health(context: Context) -> Health:
    """Check the writer thread and read the database file."""
    error: StorageError | None = None
    try:
        await context.writer.check(CHECK_TIMEOUT_SECONDS)
    except StorageError as found:
        error = found
    try:
        store = await _read_store(context)
    except (sqlite3.Error, OSError, IndexError, StorageError):
        store = None
    return Health(error, store)


async def _read_store(context: Context) -> StorageStatus:
    """Read the store beside the writer; on its connection, which quarantines it, if damaged."""
    try:
        return await asyncio.to_thread(context.reader.status)
    except sqlite3.DatabaseError as error:
        directory = Path(context.identity.storage_directory)
        if not isinstance(storage_error_from(error, directory), StorageDamagedError):
            raise
        return await context.writer.run(lambda store: store.run(context.reader.status_on))
