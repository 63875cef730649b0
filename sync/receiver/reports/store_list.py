"""The tills of all stores with their epochs, as JSON, streamed page by page.

Each page is a short read with keyset pagination, so that memory is bounded and neither the event
loop nor the pool of connections is held. A till enrolled or an epoch begun meanwhile may be missed.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import msgspec
import sqlalchemy as sa

from sync.receiver.db.conditions import IS_CURRENT
from sync.receiver.db.database import Reads
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
# A few milliseconds of the event loop, on PostgreSQL.
_EPOCHS_PER_READ = 500
_IN_SERVICE = agents.c.retired_at.is_(None)
# A retired till has neither token nor join code.
_TILLS = ((tokens, sa.true()), (join_codes, sa.true()), (agents, sa.and_(IS_CURRENT, _IN_SERVICE)))


class _Till(NamedTuple):
    store_id: str
    till_id: str


class _EncodedEpoch(NamedTuple):
    till: _Till
    epoch: str
    json: bytes


TillKey: TypeAlias = tuple[str, str]
# Returns members of the tills from the first to the last key, by key.
Describe: TypeAlias = Callable[
    [sa.Connection, TillKey, TillKey], Mapping[TillKey, Mapping[str, object]]
]
_NOTHING: Mapping[str, object] = MappingProxyType({})
# A till, and some of its epochs as JSON.
_Group: TypeAlias = tuple[_Till, list[bytes]]


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
    row = await database.read_first(sa.select(sa.or_(*known).label("is_known")), {})
    return row is not None and bool(row["is_known"])


async def is_recorded(database: Reads, store_id: str, till_id: str | None = None) -> bool:
    """Return whether a store, or a till, is known at all: enrolled, heard, retired or audited."""
    if not is_valid_text(store_id):
        return False
    names = {"store_id": store_id} | ({} if till_id is None else {"till_id": till_id})
    known = (
        sa.exists().where(*(table.c[name] == value for name, value in names.items()))
        for table in (tokens, join_codes, agents, audit_log)
    )
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
    describe: Describe | None = None,
) -> AsyncIterator[bytes]:
    """Yield `{"stores":[{"storeId","tillId","epochs":[…]}]}` of one store, a range or all.

    If more stores follow the range, `"next"` is the value of `after` for them. A document cut short
    is invalid JSON. `head` are members before the stores; `describe` returns further members of the
    tills from the first to the last of two keys, by key.
    """
    stores = stores or StoreRange()
    written, current = bytearray(msgspec.json.encode({**head, "stores": []})[:-2]), None
    described: dict[TillKey, Mapping[str, object]] = {}
    read = _PageReader(store_id, stores, describe, described)
    async for groups in _groups(database, read):
        for till, epochs in groups:
            is_continued = till == current
            if not is_continued:
                written += (b"]}," if current else b"") + _till_head(
                    till, described.get(till, _NOTHING)
                )
            written += (b"," if is_continued and epochs else b"") + b",".join(epochs)
            current = till
        yield bytes(written)
        written.clear()
    written += b"]}]" if current else b"]"
    if stores.is_cut:
        written += b',"next":' + msgspec.json.encode(stores.through)
    yield bytes(written + b"}\n")


def _till_head(till: _Till, more: Mapping[str, object]) -> bytes:
    members = {"storeId": till.store_id, "tillId": till.till_id, **more}
    return msgspec.json.encode(members)[:-1] + b',"epochs":['


async def _groups(database: Reads, pages: "_PageReader") -> AsyncIterator[list[_Group]]:
    """Yield the tills in order, each with its encoded epochs, one list per read.

    A till with many epochs is continued in the following lists.
    """
    last = _Till(pages.stores.after, "")
    while page := await database.read(partial(pages.read, after=last)):
        remaining, epochs = page
        tills, last = remaining, remaining[-1]
        while True:
            # Epochs of a till that appeared since its page was read are ignored.
            by_till: dict[_Till, list[bytes]] = {till: [] for till in remaining}
            known = [one for one in epochs if one.till in by_till]
            for one in known:
                by_till[one.till].append(one.json)
            if len(epochs) < _EPOCHS_PER_READ:
                yield [(till, by_till[till]) for till in remaining]
                break
            reached = remaining.index(known[-1].till) if known else -1
            yield [(till, by_till[till]) for till in remaining[: reached + 1]]
            remaining = remaining[max(reached, 0) :]
            read = partial(_read_epochs, tills=tills, after=epochs[-1])
            epochs = await database.read(read)


@dataclass(frozen=True, slots=True)
class _PageReader:
    """Reads pages of tills; `described` gets the further members of those of the last page."""

    store_id: str | None
    stores: StoreRange
    describe: Describe | None
    described: dict[TillKey, Mapping[str, object]]

    def read(
        self, connection: sa.Connection, after: _Till
    ) -> tuple[list[_Till], list[_EncodedEpoch]] | None:
        """Return the next tills with the first of their epochs; None if there are no more."""
        tills = _read_tills(connection, self.store_id, self.stores, after)
        if not tills:
            return None
        if self.describe is not None:
            self.described.clear()
            self.described.update(self.describe(connection, tills[0], tills[-1]))
        return tills, _read_epochs(connection, tills, None)


def _store_ids(connection: sa.Connection, after: str, limit: int) -> list[str]:
    branches = (
        sa.select(table.c.store_id).where(some, table.c.store_id > after).distinct()
        for table, some in _TILLS
    )
    found = _first_of(branches, ("store_id",), limit)
    return list(connection.scalars(found))


def _read_tills(
    connection: sa.Connection, store_id: str | None, stores: StoreRange, after: _Till
) -> list[_Till]:
    """Return the next tills, ordered by store and till."""

    def branch(table: sa.Table, some: sa.ColumnElement[bool]) -> sa.Select[Any]:
        key = [table.c[name] for name in _KEY]
        found = sa.select(*key).distinct().where(some)
        if store_id is not None:
            return found.where(table.c.store_id == store_id, table.c.till_id > after.till_id)
        if stores.through is not None:
            found = found.where(table.c.store_id <= stores.through)
        # The till's id is never empty: this begins with the first till above `stores.after`.
        is_later = sa.tuple_(*key) > sa.tuple_(*after)
        return found.where(is_later if after.till_id else table.c.store_id > after.store_id)

    branches = (branch(table, some) for table, some in _TILLS)
    found = _first_of(branches, _KEY, _TILLS_PER_READ)
    return [_Till(*row) for row in connection.execute(found)]


def _first_of(branches: Iterable[sa.Select[Any]], key: Sequence[str], limit: int) -> sa.Select[Any]:
    """Select the first rows of a union; each branch reads no more rows than that."""
    limited = [
        sa.select(one.order_by(*one.selected_columns).limit(limit).subquery()) for one in branches
    ]
    union = sa.union(*limited).subquery()
    return sa.select(union).order_by(*(union.c[name] for name in key)).limit(limit)


def _read_epochs(
    connection: sa.Connection, tills: Sequence[_Till], after: _EncodedEpoch | None
) -> list[_EncodedEpoch]:
    """Return the next epochs of the tills from the first to the last, in order."""
    key = list(agents.primary_key)
    first = sa.tuple_(*key[:2]) >= sa.tuple_(*tills[0])
    if after is not None:
        first = sa.tuple_(*key) > sa.tuple_(*after.till, after.epoch)
    found = (
        sa.select(*key[:2], *_COLUMNS)
        .where(first, sa.tuple_(*key[:2]) <= sa.tuple_(*tills[-1]), _IN_SERVICE)
        .order_by(*key)
        .limit(_EPOCHS_PER_READ)
    )
    return [
        _EncodedEpoch(
            _Till(row["store_id"], row["till_id"]),
            row["epoch"],
            msgspec.json.encode(json_members(row, _NAMES) | {"ended": epoch_end(row.__getitem__)}),
        )
        for row in connection.execute(found).mappings()
    ]
