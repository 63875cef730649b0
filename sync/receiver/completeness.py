"""Proves from the numbers of a store what has arrived there, and names what has not.

Each number up to `accepted_through` stands in one of five tables. The database looks for the
numbers that stand in none, one store at a time; only ranges leave it.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TypeAlias

import msgspec
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    select,
    union_all,
)

from sync.receiver.accept import ADDRESS_ERASED
from sync.receiver.database import Database
from sync.receiver.statements import agents, answers, doubles, gaps, rejections, sessions

_STORES_AT_ONCE = 500
_KEY = ("till_id", "epoch")
_NUMBERED = (sessions, answers, rejections, doubles)


class Range(msgspec.Struct, frozen=True, order=True):
    """The numbers from `first` to `last`, both included."""

    first: int
    last: int


_ByEpoch: TypeAlias = dict[tuple[str, str], list[Range]]


class EpochCompleteness(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What has become of the numbers of an epoch.

    All up to `complete_through` are accounted for; `outstanding` are known to exist and have
    not come; `missing` were here and are gone; `gaps` will never come.
    """

    store_id: str
    till_id: str
    epoch: str
    accepted_through: int
    complete_through: int
    outstanding: list[Range]
    rejected: list[Range]
    gaps: list[Range]
    missing: list[Range]

    @property
    def is_complete(self) -> bool:
        """Tell whether every number that is known to exist is here, taken or refused."""
        return not (self.outstanding or self.gaps or self.missing)


async def audit(database: Database, store_id: str | None) -> AsyncIterator[EpochCompleteness]:
    """Yield every epoch of a store, or of all, by store, till and epoch; one read a store."""
    async for name in _stores(database, store_id):
        for epoch in await database.read(partial(epochs_of, store_id=name)):
            yield epoch


def epochs_of(connection: Connection, store_id: str) -> list[EpochCompleteness]:
    """Return what has become of the numbers of each epoch of a store."""
    missing = _ranges(connection, _missing(store_id))
    rejected = _ranges(connection, _rejected(store_id))
    noted = _ranges(connection, _gaps(store_id))
    by_key = select(agents).where(agents.c.store_id == store_id).order_by(*agents.primary_key)
    return [
        _epoch(row, missing=missing, rejected=rejected, noted=noted)
        for row in connection.execute(by_key).mappings()
    ]


def _epoch(
    agent: RowMapping, *, missing: _ByEpoch, rejected: _ByEpoch, noted: _ByEpoch
) -> EpochCompleteness:
    key = agent["till_id"], agent["epoch"]
    accepted_through, last_sequence = agent["accepted_through"], agent["last_sequence"]
    gone = missing.get(key, [])
    outstanding = [Range(accepted_through + 1, last_sequence)]
    return EpochCompleteness(
        store_id=agent["store_id"],
        till_id=agent["till_id"],
        epoch=agent["epoch"],
        accepted_through=accepted_through,
        complete_through=gone[0].first - 1 if gone else accepted_through,
        outstanding=outstanding if last_sequence > accepted_through else [],
        rejected=rejected.get(key, []),
        gaps=noted.get(key, []),
        missing=gone,
    )


def _ranges(connection: Connection, statement: Select[tuple[object, ...]]) -> _ByEpoch:
    found: _ByEpoch = {}
    for row in connection.execute(statement).mappings():
        numbers = Range(row["first"], row["last"])
        found.setdefault((row["till_id"], row["epoch"]), []).append(numbers)
    return found


async def _stores(database: Database, store_id: str | None) -> AsyncIterator[str]:
    if store_id is not None:
        yield store_id
        return
    after = ""
    while names := await database.read(partial(_page, after=after)):
        for name in names:
            yield name
        after = names[-1]


def _page(connection: Connection, after: str) -> Sequence[str]:
    names = select(agents.c.store_id).where(agents.c.store_id > after).distinct()
    return (
        connection.execute(names.order_by(agents.c.store_id).limit(_STORES_AT_ONCE)).scalars().all()
    )


def _missing(store_id: str) -> Select[tuple[object, ...]]:
    """Return the numbers up to `accepted_through` that stand nowhere, as ranges in order.

    Each row that accounts for numbers is a stretch; where one begins after all before it have
    ended, the numbers between are missing. A stretch after the last number ends the search.
    """
    stretches = _stretches(store_id).subquery()
    in_order = (stretches.c.first, stretches.c.last)
    before = func.max(stretches.c.last).over(
        partition_by=[stretches.c[name] for name in _KEY],
        order_by=in_order,
        rows=(None, -1),
    )
    looked_at = select(
        stretches.c.till_id,
        stretches.c.epoch,
        (func.coalesce(before, 0) + 1).label("first"),
        (stretches.c.first - 1).label("last"),
    ).subquery()
    return (
        select(looked_at.c.till_id, looked_at.c.epoch, looked_at.c.first, looked_at.c.last)
        .where(looked_at.c.first <= looked_at.c.last)
        .order_by(looked_at.c.till_id, looked_at.c.epoch, looked_at.c.first)
    )


def _stretches(store_id: str) -> CompoundSelect[tuple[object, ...]]:
    ends = select(
        agents.c.till_id,
        agents.c.epoch,
        (agents.c.accepted_through + 1).label("first"),
        (agents.c.accepted_through + 1).label("last"),
    ).where(agents.c.store_id == store_id)
    numbered = (
        select(table.c.till_id, table.c.epoch, table.c.sequence, table.c.sequence)
        .join(agents, _same_epoch(table.c.store_id, table.c.till_id, table.c.epoch))
        .where(table.c.store_id == store_id, table.c.sequence <= agents.c.accepted_through)
        for table in _NUMBERED
    )
    noted = (
        select(gaps.c.till_id, gaps.c.epoch, gaps.c.first_sequence, gaps.c.last_sequence)
        .join(agents, _same_epoch(gaps.c.store_id, gaps.c.till_id, gaps.c.epoch))
        .where(gaps.c.store_id == store_id, gaps.c.first_sequence <= agents.c.accepted_through)
        # An answer that lost its address stands in both: the gap does not stand for its row.
        .where(gaps.c.reason != ADDRESS_ERASED)
    )
    return union_all(ends, *numbered, noted)


def _same_epoch(
    store_id: ColumnElement[str], till_id: ColumnElement[str], epoch: ColumnElement[str]
) -> ColumnElement[bool]:
    return and_(agents.c.store_id == store_id, agents.c.till_id == till_id, agents.c.epoch == epoch)


def _rejected(store_id: str) -> Select[tuple[object, ...]]:
    """Return the numbers that stand rejected, as ranges in order."""
    key = [rejections.c[name] for name in _KEY]
    place = func.row_number().over(partition_by=key, order_by=rejections.c.sequence)
    numbered = (
        select(*key, rejections.c.sequence, (rejections.c.sequence - place).label("island"))
        .where(rejections.c.store_id == store_id)
        .subquery()
    )
    first, last = func.min(numbered.c.sequence), func.max(numbered.c.sequence)
    island = (numbered.c.till_id, numbered.c.epoch, numbered.c.island)
    return (
        select(numbered.c.till_id, numbered.c.epoch, first.label("first"), last.label("last"))
        .group_by(*island)
        .order_by(numbered.c.till_id, numbered.c.epoch, first)
    )


def _gaps(store_id: str) -> Select[tuple[object, ...]]:
    return (
        select(
            gaps.c.till_id,
            gaps.c.epoch,
            gaps.c.first_sequence.label("first"),
            gaps.c.last_sequence.label("last"),
        )
        .where(gaps.c.store_id == store_id)
        .order_by(*gaps.primary_key)
    )
