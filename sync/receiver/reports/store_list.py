"""The tills of all stores with their epochs, as JSON, streamed page by page.

Each page is a short read with keyset pagination, so that memory is bounded and neither the event
loop nor the pool of connections is held. A till enrolled or an epoch begun meanwhile may be missed.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa

from sync.receiver.db.conditions import IS_CURRENT
from sync.receiver.db.database import Reads
from sync.receiver.db.paging import keyset_pages
from sync.receiver.db.tables import agents, audit_log, join_codes, tokens
from sync.receiver.ingest.epochs.end import epoch_end
from sync.receiver.ingest.epochs.shared_name import MIN_RETURNS
from sync.receiver.reports.json_views import is_valid_text, json_members

_EPOCH = (
    "epoch",
    "accepted_through",
    "last_sequence",
    "last_seen_at",
    "agent_version",
    "watermark",
    "outstanding",
    "dead_letters",
    "oldest_undelivered_at",
    "last_activity_at",
    "terms_refused",
    "salvage_pending",
    "salvage_salvaged",
    "salvage_unreadable",
    "followed_at",
    "ended_through",
    "ended_reason",
    "acknowledged_at",
    "acknowledged_by",
    "acknowledged_reason",
)
# When another machine under the name of the till was last heard; NULL if there was none.
_SHARED_NAME_AT = sa.case(
    (sa.and_(IS_CURRENT, agents.c.speaker_returns >= MIN_RETURNS), agents.c.speaker_returned_at)
).label("shared_name_at")
_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    *(agents.c[name] for name in _EPOCH),
    _SHARED_NAME_AT,
    agents.c.is_current,
)
_NAMES = (*_EPOCH, _SHARED_NAME_AT.name)
_KEY = ("store_id", "till_id")
_TILLS_PER_READ = 500
# Encoded in the event loop: a few milliseconds.
_EPOCHS_PER_READ = 200
_IN_SERVICE = agents.c.retired_at.is_(None)
# A retired till has neither token nor join code.
_TILLS = ((tokens, sa.true()), (join_codes, sa.true()), (agents, sa.and_(IS_CURRENT, _IN_SERVICE)))


TillKey: TypeAlias = tuple[str, str]
# Returns members of the tills from the first to the last key, by key.
Describe: TypeAlias = Callable[
    [sa.Connection, TillKey, TillKey], Mapping[TillKey, Mapping[str, object]]
]
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StoreRange:
    """The stores above `after` and up to `through` (None: all); `is_cut` if more follow."""

    after: str = ""
    through: str | None = None
    is_cut: bool = False


async def is_known_store(database: Reads, store_id: str) -> bool:
    """Return whether a till of the store is enrolled or in service."""
    if not is_valid_text(store_id):
        return False
    known = (sa.exists().where(table.c.store_id == store_id, some) for table, some in _TILLS)
    return await _is_any(database, known)


async def is_recorded(database: Reads, store_id: str, till_id: str | None = None) -> bool:
    """Return whether a store, or a till, is known at all: enrolled, heard, retired or audited."""
    if not is_valid_text(store_id):
        return False
    names = {"store_id": store_id} | ({} if till_id is None else {"till_id": till_id})
    known = (
        sa.exists().where(*(table.c[name] == value for name, value in names.items()))
        for table in (tokens, join_codes, agents, audit_log)
    )
    return await _is_any(database, known)


async def _is_any(database: Reads, known: Iterable[sa.ColumnElement[bool]]) -> bool:
    row = await database.read_first(sa.select(sa.or_(*known).label("is_known")), {})
    return row is not None and bool(row["is_known"])


async def stores_after(database: Reads, after: str, limit: int) -> StoreRange:
    """Return the range of the first `limit` stores above `after`."""
    found = await database.read(partial(_store_ids, after=after, limit=limit + 1))
    if len(found) <= limit:
        return StoreRange(after)
    return StoreRange(after, through=found[limit - 1], is_cut=True)


async def stores_json(
    database: Reads,
    store_id: str | None = None,
    stores: StoreRange | None = None,
    *,
    head: Mapping[str, object] = _NOTHING,
    describe: Describe = lambda *_: _NOTHING,
) -> AsyncIterator[bytes]:
    """Yield `{"stores":[{"storeId","tillId","epochs":[…]}]}` of one store, a range or all.

    If more stores follow the range, `"next"` is the value of `after` for them. A document cut short
    is invalid JSON. `head` are members before the stores; `describe` returns further members of the
    tills from the first to the last of two keys, by key.
    """
    stores = stores or StoreRange()
    document = _Document(head)
    async for tills in _till_pages(database, store_id, stores, describe):
        unwritten = iter(tills.items())
        async for rows in _epoch_pages(database, [*tills]):
            for row in rows:
                till = (row["store_id"], row["till_id"])
                # One that appeared since its page was read is left out.
                while till in tills and till != document.till:
                    document.begin(*next(unwritten))
                if till in tills:
                    document.add(row)
            yield document.taken()
        for till, members in unwritten:
            document.begin(till, members)
        yield document.taken()
    yield document.end(stores)


class _Document:
    """Writes the document, till by till and epoch by epoch. `till`: the one being written."""

    def __init__(self, head: Mapping[str, object]) -> None:
        self.till: TillKey | None = None
        self._has_epochs = False
        self._text = bytearray(msgspec.json.encode({**head, "stores": []})[:-2])

    def begin(self, till: TillKey, members: Mapping[str, object]) -> None:
        named = msgspec.json.encode({"storeId": till[0], "tillId": till[1], **members})
        self._text += (b"]}," if self.till else b"") + named[:-1] + b',"epochs":['
        self.till, self._has_epochs = till, False

    def add(self, epoch: sa.RowMapping) -> None:
        members = json_members(epoch, _NAMES) | {"ended": epoch_end(epoch.__getitem__)}
        self._text += (b"," if self._has_epochs else b"") + msgspec.json.encode(members)
        self._has_epochs = True

    def end(self, stores: StoreRange) -> bytes:
        self._text += b"]}]" if self.till else b"]"
        if stores.is_cut:
            self._text += b',"next":' + msgspec.json.encode(stores.through)
        return self.taken() + b"}\n"

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        text, self._text = bytes(self._text), bytearray()
        return text


async def _till_pages(
    database: Reads, store_id: str | None, stores: StoreRange, describe: Describe
) -> AsyncIterator[Mapping[TillKey, Mapping[str, object]]]:
    """Yield the tills in order, with their further members, some in each read."""
    read = partial(_read_tills, store_id=store_id, stores=stores, describe=describe)
    after = (stores.after, "")
    while tills := await database.read(partial(read, after=after)):
        yield tills
        after = [*tills][-1]


def _epoch_pages(
    database: Reads, tills: Sequence[TillKey]
) -> AsyncIterator[Sequence[sa.RowMapping]]:
    """Return the epochs of the tills from the first to the last, in order, some in each read."""
    key = list(agents.primary_key)
    till = sa.tuple_(*key[:2])
    found = sa.select(*key[:2], *_COLUMNS)
    found = found.where(till >= sa.tuple_(*tills[0]), till <= sa.tuple_(*tills[-1]), _IN_SERVICE)
    return keyset_pages(database, found, key, _EPOCHS_PER_READ)


def _store_ids(connection: sa.Connection, after: str, limit: int) -> list[str]:
    branches = (
        sa.select(table.c.store_id).where(some, table.c.store_id > after).distinct()
        for table, some in _TILLS
    )
    found = _first_of(branches, ("store_id",), limit)
    return list(connection.scalars(found))


def _read_tills(
    connection: sa.Connection,
    store_id: str | None,
    stores: StoreRange,
    describe: Describe,
    after: TillKey,
) -> dict[TillKey, Mapping[str, object]]:
    """Return the next tills, ordered by store and till, with their further members."""

    def branch(table: sa.Table, some: sa.ColumnElement[bool]) -> sa.Select[Any]:
        key = [table.c[name] for name in _KEY]
        found = sa.select(*key).distinct().where(some)
        if store_id is not None:
            return found.where(table.c.store_id == store_id, table.c.till_id > after[1])
        if stores.through is not None:
            found = found.where(table.c.store_id <= stores.through)
        # The till's id is never empty: this begins with the first till above `stores.after`.
        is_later = sa.tuple_(*key) > sa.tuple_(*after)
        return found.where(is_later if after[1] else table.c.store_id > after[0])

    branches = (branch(table, some) for table, some in _TILLS)
    found = connection.execute(_first_of(branches, _KEY, _TILLS_PER_READ))
    tills = [(store_id, till_id) for store_id, till_id in found]
    described = describe(connection, tills[0], tills[-1]) if tills else _NOTHING
    return {till: described.get(till, _NOTHING) for till in tills}


def _first_of(branches: Iterable[sa.Select[Any]], key: Sequence[str], limit: int) -> sa.Select[Any]:
    """Select the first rows of a union; each branch reads no more rows than that."""
    limited = [
        sa.select(one.order_by(*one.selected_columns).limit(limit).subquery()) for one in branches
    ]
    union = sa.union(*limited).subquery()
    return sa.select(union).order_by(*(union.c[name] for name in key)).limit(limit)
