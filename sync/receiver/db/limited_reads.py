"""Reads for people: few at a time, so that tills keep most of the connections."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Select

from sync.receiver.db.database import Database, Values

T = TypeVar("T")
# Of four read connections on SQLite, eight connections on PostgreSQL.
CONCURRENT_READS = 2


class LimitedReads:
    """`Database` that reads on at most `CONCURRENT_READS` connections at once.

    A page of the whole chain takes long. Tills need a read connection, too: their token is looked
    up for each request. Event loop only.
    """

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
