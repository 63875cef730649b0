"""Deletes what has had its days at head office, a few rows in a transaction, oldest first.

The numbers of an epoch leave in their order, so that one number, `purged_through`, accounts for
all that have left: nothing up to it counts as missing, and nothing up to it is taken again. What
was missing already is noted in `gaps` before, and stays there; so does every gap.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import (
    Connection,
    CursorResult,
    Executable,
    RowMapping,
    bindparam,
    delete,
    func,
    select,
    union_all,
)
from sqlalchemy.exc import SQLAlchemyError

from sync.logs import log_event
from sync.receiver import statements
from sync.receiver.adding import add_rows
from sync.receiver.columns import Moment
from sync.receiver.database import Database
from sync.receiver.gaps import Gap
from sync.receiver.old_hours import purge_hours
from sync.receiver.rows import epoch_key, gap_row
from sync.receiver.statements import agents, answers, doubles, gaps, rejections, sessions
from sync.receiver.tokens import AgentName
from sync.receiver.walking import stores_in

_log = logging.getLogger(__name__)
_A_DAY_SECONDS = 86_400.0
# Agents wait behind a transaction of this size no longer than behind a few batches.
NUMBERS_AT_ONCE = 1000
MISSING_BEFORE = "missing before its days were over"
_NUMBERED = (sessions, answers, rejections, doubles)


@asynccontextmanager
async def kept_for(
    days: int, database: Database, now: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Purge the database of what is older than `days`, at once and then daily; never with 0."""
    if not days:
        yield
        return
    purging = asyncio.create_task(_purge_daily(timedelta(days=days), database, now))
    try:
        yield
    finally:
        purging.cancel()
        with suppress(asyncio.CancelledError):
            await purging


async def _purge_daily(stay: timedelta, database: Database, now: Callable[[], datetime]) -> None:
    while True:
        try:
            purged = await purge(database, now() - stay, now())
            await purge_hours(database, now() - stay)
            if purged:
                log_event(_log, logging.INFO, "hq.purged", events=purged)
        except (OSError, SQLAlchemyError) as error:
            reason = getattr(error, "orig", None) or error
            log_event(_log, logging.WARNING, "hq.not_purged", reason=str(reason))
        await asyncio.sleep(_A_DAY_SECONDS)


async def purge(database: Database, received_before: datetime, at: datetime) -> int:
    """Delete what came before a moment and all that came before it in its epoch as well.

    Returns how many numbers have left. An event that came late keeps those behind it until its
    own days are over. To break off is harmless, and so is to do it in two processes at once.
    """
    purged = 0
    async for store_id in stores_in(database, [agents]):
        for name, epoch in await database.read(partial(_held, store_id=store_id)):
            step = partial(_step, name=name, epoch=epoch, received_before=received_before, at=at)
            while done := await database.write(step):
                purged += done
    return purged


def _held(connection: Connection, store_id: str) -> list[tuple[AgentName, str]]:
    """Return the epochs of a store of which anything may be left."""
    rows = connection.execute(
        select(agents.c.till_id, agents.c.epoch).where(
            agents.c.store_id == store_id, agents.c.purged_through < agents.c.accepted_through
        )
    )
    return [(AgentName(store_id, row.till_id), row.epoch) for row in rows]


def _step(
    connection: Connection, name: AgentName, epoch: str, received_before: datetime, at: datetime
) -> int:
    """Let the next numbers of an epoch leave; return how many did."""
    purging = _Purging(connection, name, epoch)
    agent = purging.agent()
    first: int = agent["purged_through"] + 1
    # Numbers that were never here are one row, however many they are.
    last = max(first + NUMBERS_AT_ONCE - 1, purging.end_of_gap(first))
    last = purging.last_before(received_before, first, min(last, agent["accepted_through"]))
    if last < first:
        return 0
    purging.note(purging.missing(first, last), at)
    purging.delete(first, last)
    return last - first + 1


_YOUNGEST = union_all(
    *(
        select(func.min(table.c.sequence).label("sequence")).where(
            statements.with_numbers(table),
            table.c.received_at >= bindparam("received_before", type_=Moment),
        )
        for table in _NUMBERED
    )
)
_STANDING = union_all(
    *(select(table.c.sequence).where(statements.with_numbers(table)) for table in _NUMBERED)
)
_GOING = [delete(table).where(statements.with_numbers(table)) for table in _NUMBERED]


class _Purging:
    """One transaction on the numbers of an epoch, its row in `agents` locked."""

    def __init__(self, connection: Connection, name: AgentName, epoch: str) -> None:
        self._connection = connection
        self._key = epoch_key(name, epoch)
        self._of = statements.of(name, epoch)

    def agent(self) -> RowMapping:
        """Return the epoch's row, and lock it."""
        rows = self._execute(statements.AGENT_ROWS, epochs=[self._key["epoch"]])
        return rows.mappings().one()

    def end_of_gap(self, number: int) -> int:
        """Return the end of the gap that holds the number; 0 if none does."""
        around = self._execute(statements.GAPS_AROUND, first=number, last=number)
        return max((row.last_sequence for row in around), default=0)

    def last_before(self, received_before: datetime, first: int, last: int) -> int:
        """Return the number before the first that came too late to leave; `last` if none did."""
        found = self._execute(_YOUNGEST, received_before=received_before, first=first, last=last)
        young = [row.sequence for row in found if row.sequence is not None]
        return min(young, default=last + 1) - 1

    def missing(self, first: int, last: int) -> list[Gap]:
        """Return which of the numbers are accounted for by nothing, as gaps."""
        rows = self._execute(_STANDING, first=first, last=last)
        stretches: list[tuple[int, int]] = [(row.sequence, row.sequence) for row in rows]
        noted = self._execute(statements.GAPS_AROUND, first=first, last=last)
        stretches += [(row.first_sequence, row.last_sequence) for row in noted]
        missing: list[Gap] = []
        expected = first
        for begin, end in [*sorted(stretches), (last + 1, last + 1)]:
            if begin > expected:
                missing.append(Gap(expected, begin - 1, MISSING_BEFORE))
            expected = max(expected, end + 1)
        return missing

    def note(self, missing: Iterable[Gap], at: datetime) -> None:
        """Keep for good what was missing: the numbers around it will not tell any more."""
        add_rows(self._connection, gaps, [gap_row(self._key, gap, at) for gap in missing])

    def delete(self, first: int, last: int) -> None:
        """Delete the rows, and keep that this was done."""
        for going in _GOING:
            self._execute(going, first=first, last=last)
        self._execute(statements.UPDATE_AGENT, purged_through=last)

    def _execute(self, statement: Executable, **values: object) -> CursorResult[tuple[object, ...]]:
        return self._connection.execute(statement, {**self._of, **values})
