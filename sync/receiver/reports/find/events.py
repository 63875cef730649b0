"""Events that match a query, each with its state.

In bounded reads: of some stores each, because no index begins with an id, and of some rows each.
No event is left out: a till chooses its ids, and could hide those of others behind thousands of its
own. Never an e-mail address.
"""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy import func

from sync.protocol.rfc3339 import json_time
from sync.protocol.wire import EventType
from sync.receiver.db.conditions import IS_CURRENT
from sync.receiver.db.database import Reads
from sync.receiver.db.paging import keyset_pages
from sync.receiver.db.period import captured_at
from sync.receiver.db.tables import agents, answers, duplicates, gaps, rejections, sessions
from sync.receiver.ingest.epochs.returned import MOVED
from sync.receiver.reports.find.query import AskedReceipt, Query, StoreAndTime
from sync.receiver.reports.store_list import StoreRange
from sync.receiver.reports.till_conditions import SecondsBetween

STORES_PER_READ = 200
# Of one table in one read; about a time, the nearest in all.
MAX_ROWS = 200
_KEY = ("store_id", "till_id", "epoch", "sequence")


class EventState(StrEnum):
    """State of an event. The values are those of the JSON API.

    `MISSING` was accepted, and its row is gone; `DUPLICATE` is stored under another number; `MOVED`
    has another number in a later epoch; `UNKNOWN`: no till ever said that it has it.
    """

    HERE = "here"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    MOVED = "moved"
    LOST = "lost"
    PURGED = "purged"
    MISSING = "missing"
    NOT_HERE_YET = "not-here-yet"
    UNKNOWN = "unknown"


class _FindInStores(Protocol):
    def __call__(
        self, database: Reads, text: str, stores: StoreRange
    ) -> "AsyncIterator[FoundEvent]": ...


class FoundEvent(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """An event with its state and times.

    `captured_at` is the corrected time, or None if it is not trusted; `till_time` is that of the
    till's clock. `last_heard_at` of an event that is not here: when its till was last heard.
    `body` is the content held of the event, as JSON text, for an access request.
    """

    state: EventState
    type: str | None = None
    store_id: str | None = None
    till_id: str | None = None
    epoch: str | None = None
    sequence: int | None = None
    correlation_id: str | None = None
    external_identifier: str | None = None
    status: str | None = None
    captured_at: str | None = None
    till_time: str | None = None
    received_at: str | None = None
    last_heard_at: str | None = None
    reason: str | None = None
    body: str | None = None


async def find_events(
    database: Reads, query: Query, store_id: str | None = None
) -> AsyncIterator[FoundEvent]:
    """Yield the events that match the query, of one store or of all.

    Of a store and a time, the nearest event comes first. A text that is a correlation id is not
    looked for as a number of the POS.
    """
    if query.store_and_time is not None:
        for event in await database.read(partial(_around, place=query.store_and_time)):
            yield event
    if query.receipt is not None:
        for event in await database.read(partial(_by_receipt, receipt=query.receipt)):
            yield event
    is_id = False
    async for event in _in_all_stores(database, _by_id, query.text, store_id):
        is_id = True
        yield event
    if is_id:
        return
    # The numbers of the POS have no index: every session is read.
    async for event in _in_all_stores(database, _by_pos_number, query.text, store_id):
        yield event


async def _in_all_stores(
    database: Reads, find: _FindInStores, text: str, store_id: str | None
) -> AsyncIterator[FoundEvent]:
    """Yield the events that `find` yields in one store or in all, some stores at a time."""
    after = ""
    while True:
        stores = await _next_stores(database, store_id, after)
        async for event in find(database, text, stores):
            yield event
        if stores.through is None or store_id is not None:
            return
        after = stores.through


async def _next_stores(database: Reads, store_id: str | None, after: str) -> StoreRange:
    """Return the next stores that ever sent anything, retired ones as well."""
    if store_id is not None:
        return StoreRange(through=store_id)
    stores = await database.read(partial(_store_ids, after=after))
    if len(stores) <= STORES_PER_READ:
        return StoreRange(after)
    return StoreRange(after, through=stores[STORES_PER_READ - 1], is_cut=True)


def _store_ids(connection: sa.Connection, after: str) -> Sequence[str]:
    name = agents.c.store_id
    some = sa.select(name).where(IS_CURRENT, name > after).group_by(name).order_by(name)
    return connection.scalars(some.limit(STORES_PER_READ + 1)).all()


def found_event(table: sa.Table, row: sa.RowMapping) -> FoundEvent:
    """Return a row of sessions, answers, rejections or duplicates as an event."""
    states = {rejections: EventState.REJECTED, duplicates: EventState.DUPLICATE}
    types = {sessions: EventType.SESSION_STARTED, answers: EventType.EMAIL_ANSWERED}
    has_error = "error_code" in row
    return FoundEvent(
        state=states.get(table, EventState.HERE),
        type=types[table] if table in types else row["type"],
        **{name: row[name] for name in (*_KEY, "correlation_id")},
        external_identifier=row.get("external_identifier"),
        status=row.get("status"),
        captured_at=json_time(row.get("corrected_at")),
        till_time=json_time(row.get("occurred_at")),
        received_at=json_time(row["received_at"]),
        reason=f"{row['error_code']}: {row['error_message']}" if has_error else None,
        body=row.get("body"),
    )


async def _by_id(database: Reads, text: str, stores: StoreRange) -> AsyncIterator[FoundEvent]:
    """Yield the events under a correlation id."""
    for table in (sessions, answers, rejections, duplicates):
        async for event in _all(database, table, _under_id(table, text, stores)):
            yield event


async def _by_pos_number(
    database: Reads, text: str, stores: StoreRange
) -> AsyncIterator[FoundEvent]:
    """Yield the sessions with a number of the POS, each with the other events under its id."""
    has_number = sessions.c.external_identifier == text
    numbered = sa.select(sessions).where(_is_in(sessions, stores), has_number)
    async for found in _all(database, sessions, numbered):
        yield found
        for table in (answers, rejections, duplicates):
            under = sa.select(table).where(
                table.c.store_id == found.store_id, table.c.correlation_id == found.correlation_id
            )
            async for event in _all(database, table, under):
                yield event


def _under_id(table: sa.Table, text: str, stores: StoreRange) -> sa.Select[Any]:
    # An equality with each store: only so the index of ids is used, which begins with the store.
    known = sa.select(agents.c.store_id).distinct().where(_is_in(agents, stores))
    return sa.select(table).where(table.c.store_id.in_(known), table.c.correlation_id == text)


def _is_in(table: sa.Table, stores: StoreRange) -> sa.ColumnElement[bool]:
    if stores.through is not None and not stores.after and not stores.is_cut:
        return table.c.store_id == stores.through
    through = sa.true() if stores.through is None else table.c.store_id <= stores.through
    return sa.and_(table.c.store_id > stores.after, through)


def _around(connection: sa.Connection, place: StoreAndTime) -> list[FoundEvent]:
    """Return the events of a store that were captured about a time, the nearest first."""
    found: list[tuple[float, FoundEvent]] = []
    for table in (sessions, answers):
        at = captured_at(table)
        wanted = sa.literal(place.at, table.c.received_at.type)
        distance = func.abs(SecondsBetween(wanted, at)).label("distance")
        nearest = (
            sa.select(table, distance)
            .where(table.c.store_id == place.store_id, place.period.contains(at))
            .order_by(distance, *(table.c[name] for name in _KEY))
            .limit(MAX_ROWS)
        )
        rows = connection.execute(nearest).mappings()
        found += ((row["distance"], found_event(table, row)) for row in rows)
    return [event for _, event in sorted(found, key=lambda one: one[0])][:MAX_ROWS]


def _by_receipt(connection: sa.Connection, receipt: AskedReceipt) -> list[FoundEvent]:
    """Return the event of a receipt; as unknown if no till has its epoch."""
    epochs = sa.select(agents).where(agents.c.epoch == receipt.epoch).limit(MAX_ROWS)
    rows = connection.execute(epochs).mappings().all()
    return [_of_epoch(connection, row, receipt) for row in rows]


def _of_epoch(connection: sa.Connection, epoch: sa.RowMapping, receipt: AskedReceipt) -> FoundEvent:
    for table in (sessions, answers, rejections, duplicates):
        is_event = _is_epoch(table, epoch), table.c.sequence == receipt.sequence
        row = connection.execute(sa.select(table).where(*is_event)).mappings().first()
        if row is not None:
            return found_event(table, row)
    state, number = EventState.MISSING, receipt.sequence
    if epoch["last_sequence"] < number <= (epoch["ended_through"] or 0):
        state = EventState.MOVED
    elif number > epoch["last_sequence"] or number < 1:
        state = EventState.UNKNOWN
    elif number > epoch["accepted_through"]:
        state = EventState.NOT_HERE_YET
    elif number <= epoch["purged_through"]:
        state = EventState.PURGED
    is_in_gap = gaps.c.first_sequence <= number, gaps.c.last_sequence >= number
    reason = connection.scalar(sa.select(gaps.c.reason).where(_is_epoch(gaps, epoch), *is_in_gap))
    if reason is not None:
        state = EventState.MOVED if reason == MOVED else EventState.LOST
    return FoundEvent(
        state=state,
        **{name: epoch[name] for name in _KEY[:3]},
        sequence=number,
        last_heard_at=json_time(epoch["last_seen_at"]),
        reason=reason,
    )


def _is_epoch(table: sa.Table, epoch: sa.RowMapping) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == epoch[name] for name in _KEY[:3]))


async def _all(
    database: Reads, table: sa.Table, statement: sa.Select[Any]
) -> AsyncIterator[FoundEvent]:
    """Yield all rows of a statement in the order of their key, `MAX_ROWS` in each read."""
    key = tuple(table.c[name] for name in _KEY)
    async for rows in keyset_pages(database, statement, key, MAX_ROWS):
        for row in rows:
            yield found_event(table, row)
