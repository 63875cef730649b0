"""A planted fault: the receiver, but it answers before the commit.

The crash tests are worth something only if they find this one, started instead of the receiver
as `python -m tests.crash.head_office_answering_early --config FILE serve`.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from sync.receiver.cli import main
from sync.receiver.database import Database

BATCHES_PER_COMMIT = 8
_batches = itertools.count(1)
_open: list[AsyncConnection] = []


@asynccontextmanager
async def _late(database: Database) -> AsyncIterator[AsyncConnection]:
    """Leave the transaction open: a later batch commits it, after this one was answered."""
    async with database._turns.own():  # noqa: SLF001 - a saboteur's way in
        if not _open:
            _open.append(await database._writer.connect())  # noqa: SLF001 - as above
            await _open[0].execute(text("SELECT 1"))
        yield _open[0]
        if next(_batches) % BATCHES_PER_COMMIT == 0:
            await _open[0].commit()


if __name__ == "__main__":
    setattr(Database, "writing", _late)  # noqa: B010 - the planted fault: not what types allow
    main()
