"""Retention: deletes events older than the retention period, oldest first, in small transactions.

The numbers of an epoch are purged in order, so that one number, `purged_through`, accounts for all
of them: nothing up to it counts as missing, and nothing up to it is accepted again. Numbers that
are missing by then are first recorded in `gaps`, and gaps are never purged.

Rejected events are not accepted yet, and agents resend them daily: they are neither purged nor do
they block the numbers behind them. An event accepted later is purged once its own retention period
is over ("late", below `purged_through`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    RowMapping,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    union_all,
)
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.auth.tokens import AgentName
from sync.receiver.db import statements
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.db.database import Database
from sync.receiver.db.paging import store_ids_in
from sync.receiver.db.statements import agents, answers, duplicates, gaps, rejections, sessions
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.rows import epoch_key, gap_row
from sync.receiver.retention.old_hours import purge_hours
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_A_DAY_SECONDS = 86_400.0
# A purge transaction delays agents no longer than a few batches do.
NUMBERS_AT_ONCE = 1000
MISSING_BEFORE = "missing before its days were over"
_LEAVING = (sessions, answers, duplicates)
_NUMBERED = (*_LEAVING, rejections)


@asynccontextmanager
async def kept_for(
    days: int, database: Database, now: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Purge events older than `days` at start and then daily, in a background task; 0: never."""
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
    """Delete the events received before `received_before`, in sequence order per epoch.

    Return the number of sequence numbers purged. A late event blocks those behind it until its own
    retention period is over. Safe to interrupt, and to run in two processes at once.
    """
    purged = 0
    async for store_id in store_ids_in(database, [agents]):
        held = partial(_held, store_id=store_id, received_before=received_before)
        for name, epoch, is_any_late in await database.read(held):
            if is_any_late:
                late = partial(_late, name=name, epoch=epoch, received_before=received_before)
                purged += await database.write(late)
            step = partial(_step, name=name, epoch=epoch, received_before=received_before, at=at)
            while done := await database.write(step):
                purged += done
    return purged


def _held(
    connection: Connection, store_id: str, received_before: datetime
) -> list[tuple[AgentName, str, bool]]:
    """Return the epochs of a store with purgeable events, and whether any of them is late."""
    values = {"of_store": store_id, "received_before": received_before}
    rows = connection.execute(_HELD, values)
    return [(AgentName(store_id, row.till_id), row.epoch, bool(row.late)) for row in rows]


def _late(connection: Connection, name: AgentName, epoch: str, received_before: datetime) -> int:
    """Delete late events; return their number."""
    return _Purging(connection, name, epoch).delete_late(received_before)


def _step(
    connection: Connection, name: AgentName, epoch: str, received_before: datetime, at: datetime
) -> int:
    """Purge the next numbers of an epoch; return how many."""
    purging = _Purging(connection, name, epoch)
    agent = purging.agent()
    first: int = agent["purged_through"] + 1
    # A gap is a single row however many numbers it covers.
    last = max(first + NUMBERS_AT_ONCE - 1, purging.end_of_gap(first))
    last = purging.last_before(received_before, first, min(last, agent["accepted_through"]))
    if last < first:
        return 0
    purging.note(purging.missing(first, last), at)
    purging.delete(first, last)
    return last - first + 1


_STORE = bindparam("of_store", type_=Text)
_RECEIVED_BEFORE = bindparam("received_before", type_=UtcTimestamp)
_YOUNGEST = union_all(
    *(
        select(func.min(table.c.sequence).label("sequence")).where(
            statements.in_range(table), table.c.received_at >= _RECEIVED_BEFORE
        )
        for table in _LEAVING
    )
)
_STANDING = union_all(
    *(select(table.c.sequence).where(statements.in_range(table)) for table in _NUMBERED)
)
_GOING = [delete(table).where(statements.in_range(table)) for table in _LEAVING]


def _is_late(table: Table, purged_through: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(table.c.sequence <= purged_through, table.c.received_at < _RECEIVED_BEFORE)


_GOING_LATE = [
    delete(table).where(
        statements.is_epoch(table), _is_late(table, bindparam("purged", type_=BigInteger))
    )
    for table in _LEAVING
]
_ANY_LATE = or_(
    *(
        exists().where(
            table.c.store_id == _STORE,
            *(table.c[name] == agents.c[name] for name in ("till_id", "epoch")),
            _is_late(table, agents.c.purged_through),
        )
        for table in _LEAVING
    )
)
_HELD = (
    select(agents.c.till_id, agents.c.epoch, _ANY_LATE.label("late"))
    .where(agents.c.store_id == _STORE)
    .where(or_(agents.c.purged_through < agents.c.accepted_through, _ANY_LATE))
)


class _Purging:
    """One purge transaction on an epoch; holds the lock on its row in `agents`."""

    def __init__(self, connection: Connection, name: AgentName, epoch: str) -> None:
        self._connection = connection
        self._key = epoch_key(name, epoch)
        self._of = statements.params_for(name, epoch)

    def agent(self) -> RowMapping:
        """Select the epoch's row FOR UPDATE."""
        rows = self._execute(statements.SELECT_AGENTS_FOR_UPDATE, epochs=[self._key["epoch"]])
        return rows.mappings().one()

    def end_of_gap(self, number: int) -> int:
        """Return the last number of the gap that contains `number`; 0 if there is none."""
        around = self._execute(statements.SELECT_OVERLAPPING_GAPS, first=number, last=number)
        return max((row.last_sequence for row in around), default=0)

    def last_before(self, received_before: datetime, first: int, last: int) -> int:
        """Return the last number before the first event that is too recent, or `last`."""
        found = self._execute(_YOUNGEST, received_before=received_before, first=first, last=last)
        young = [row.sequence for row in found if row.sequence is not None]
        return min(young, default=last + 1) - 1

    def missing(self, first: int, last: int) -> list[Gap]:
        """Return the numbers without any row, as gaps."""
        rows = self._execute(_STANDING, first=first, last=last)
        stretches: list[tuple[int, int]] = [(row.sequence, row.sequence) for row in rows]
        noted = self._execute(statements.SELECT_OVERLAPPING_GAPS, first=first, last=last)
        stretches += [(row.first_sequence, row.last_sequence) for row in noted]
        missing: list[Gap] = []
        expected = first
        for begin, end in [*sorted(stretches), (last + 1, last + 1)]:
            if begin > expected:
                missing.append(Gap(expected, begin - 1, MISSING_BEFORE))
            expected = max(expected, end + 1)
        return missing

    def note(self, missing: Iterable[Gap], at: datetime) -> None:
        """Record the missing numbers as gaps, before the rows around them disappear."""
        insert_rows(self._connection, gaps, [gap_row(self._key, gap, at) for gap in missing])

    def delete(self, first: int, last: int) -> None:
        """Delete the rows and advance `purged_through`."""
        for going in _GOING:
            self._execute(going, first=first, last=last)
        self._execute(statements.UPDATE_AGENT, purged_through=last)

    def delete_late(self, received_before: datetime) -> int:
        """Delete the expired rows at or below `purged_through`; return their number."""
        values = {"purged": self.agent()["purged_through"], "received_before": received_before}
        return sum(self._execute(going, **values).rowcount for going in _GOING_LATE)

    def _execute(self, statement: Executable, **values: object) -> CursorResult[tuple[object, ...]]:
        return self._connection.execute(statement, {**self._of, **values})
