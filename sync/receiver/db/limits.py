"""Limits of concurrent reads and writes: no kind of work can take all connections.

Token look-ups, which every request needs, and readiness use the connections that are left. Without
the limits they would wait behind pages of the whole chain, and behind batches that wait for a lock
or a slow disk.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Select

from sync.receiver.db.database import Database, Values

T = TypeVar("T")
# Of four read connections on SQLite, of `ALL_AT_ONCE` connections on PostgreSQL.
CONCURRENT_READS = 2
BATCHES_AT_ONCE, HEARTBEATS_AT_ONCE, OTHERS_AT_ONCE = 6, 2, 4
ALL_AT_ONCE = BATCHES_AT_ONCE + HEARTBEATS_AT_ONCE + CONCURRENT_READS + OTHERS_AT_ONCE


class LimitedWrites:
    """Writes to a database in at most `most` transactions at once. Event loop only.

    The timeouts of the running transactions bound the wait.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(most)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; durable when this returns."""
        async with self._slots:
            return await self._database.write(work)


class LimitedReads:
    """`Reads` on at most `CONCURRENT_READS` connections at once, for people. Event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(CONCURRENT_READS)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot, read-only; keep it short."""
        async with self._slots:
            return await self._database.read(work)

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row of one statement, or None."""
        async with self._slots:
            return await self._database.read_first(statement, values)
