"""Access to the store from the event loop: reads beside the writer, writes through it."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from sqlmodel import Session

from agent.store.crypto.vault import UnusableKey
from agent.store.db.connect import DATABASE_FILE, read_only, reading_engine
from agent.store.db.transaction import session_on
from agent.store.files.storage_errors import (
    DamagedRowError,
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
    StorageMovedError,
    storage_error_from,
)
from agent.store.store import Store
from agent.store.writer import Writer
from sync.delivery.outbox import OutboxUnavailable

T = TypeVar("T")
C = TypeVar("C")
Arguments = TypeVarTuple("Arguments")


class StoreAccess:
    """Runs each job in one transaction.

    `read` and `write` pass an SQLModel session, `read_hot` and `write_hot` the driver's connection
    for SQL text. Every method raises `OutboxUnavailable` if the storage fails; nothing
    is lost then.
    """

    def __init__(self, directory: Path, writer: Writer) -> None:
        self.database = directory / DATABASE_FILE
        self._directory = directory
        self._writer = writer
        self._engine = reading_engine(directory)

    @property
    def opening(self) -> int | None:
        """The number of the store's present opening; None while it is closed.

        The database of another opening can be another one: put back, or new after damage.
        """
        return self._writer.opening

    async def read(self, query: Callable[[Session, *Arguments], T], *arguments: *Arguments) -> T:
        """Run `query`, which must not write, and return its result."""
        opening = session_on(self._engine)
        return await self._read(opening, Store.run_in_session, query, *arguments)

    async def read_hot(
        self, query: Callable[[sqlite3.Connection, *Arguments], T], *arguments: *Arguments
    ) -> T:
        """Run `query`, which must not write, and return its result."""
        return await self._read(read_only(self._directory), Store.run, query, *arguments)

    async def write(self, job: Callable[[Session, *Arguments], T], *arguments: *Arguments) -> T:
        """Run `job` in a transaction; committed and synced on return."""
        return await self.run(lambda store: store.run_in_session(job, *arguments))

    async def write_hot(
        self, job: Callable[[sqlite3.Connection, *Arguments], T], *arguments: *Arguments
    ) -> T:
        """Run `job` in a transaction; committed and synced on return."""
        return await self.run(lambda store: store.run(job, *arguments))

    async def run(self, job: Callable[[Store, *Arguments], T], *arguments: *Arguments) -> T:
        """Run `job` in the writer's thread.

        On a full disk it is retried once, since the store has then freed its ballast; and after
        damage to a row, since the store has then repaired it.
        """
        try:
            try:
                return await self._writer.run(job, *arguments)
            except (StorageFullError, DamagedRowError):
                return await self._writer.run(job, *arguments)
        except StorageError as error:
            raise OutboxUnavailable(str(error)) from error

    async def _read(
        self,
        opening: AbstractContextManager[C],
        run_on_writer: Callable[..., T],
        query: Callable[[C, *Arguments], T],
        *arguments: *Arguments,
    ) -> T:
        opened: list[C] = []

        def read() -> T:
            try:
                with opening as connection:
                    opened.append(connection)
                    return query(connection, *arguments)
            except (sqlite3.Error, OSError) as cause:
                raise storage_error_from(cause, self._directory) from cause
            except UnusableKey as error:
                raise StorageDownError(str(error)) from error

        try:
            return await asyncio.to_thread(read)
        except asyncio.CancelledError:
            # The process ends after its threads only, and a check of the file reads all of it.
            for connection in opened:
                _interrupt(connection)
            raise
        except (StorageDamagedError, DamagedRowError, StorageMovedError):
            # Retry on the writer's connection, which quarantines a damaged file, repairs rows, and
            # still holds a moved one.
            return await self.run(lambda store: run_on_writer(store, query, *arguments))
        except StorageError as error:
            raise OutboxUnavailable(str(error)) from error


def _interrupt(connection: object) -> None:
    """End the statement that runs on the driver's connection, in another thread."""
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed: the read has ended
            connection.interrupt()
