"""Completeness audit: finds sequence numbers that are missing at head office, per store.

Each number up to `accepted_through` is a row in one of five tables, or was purged (it is at most
`purged_through`). SQL finds the numbers without a row, one store per read, and returns ranges only.
An epoch whose row in `agents` is lost is found by its remaining rows.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import func

from sync.receiver.db.database import Database
from sync.receiver.db.paging import store_ids_in
from sync.receiver.db.tables import agents, answers, duplicates, gaps, rejections, sessions
from sync.receiver.ingest.accept import ADDRESS_ERASED

_STORE = sa.bindparam("of_store", type_=sa.Text)
_KEY = ("till_id", "epoch")
_MAX_BIGINT = sa.literal(2**63 - 1, sa.BigInteger)
_NUMBERED = (sessions, answers, rejections, duplicates)
_TABLES = (agents, *_NUMBERED, gaps)


class Range(msgspec.Struct, frozen=True, order=True):
    """Sequence numbers from `first` to `last`, both inclusive."""

    first: int
    last: int


class EpochCompleteness(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """State of the sequence numbers of one epoch.

    Numbers up to `complete_through` are accounted for; those up to `purged_through` were purged.
    `outstanding` are known to exist and have not arrived yet; `missing` were accepted and have no
    row; `gaps` will never arrive. If the epoch has no row in `agents` (not `listed`),
    `accepted_through` is the highest number found; higher ones may have been lost.
    """

    store_id: str
    till_id: str
    epoch: str
    listed: bool
    accepted_through: int
    complete_through: int
    purged_through: int
    outstanding: list[Range]
    rejected: list[Range]
    gaps: list[Range]
    missing: list[Range]

    @property
    def is_complete(self) -> bool:
        """Return whether every number known to exist is here, accepted or rejected."""
        return self.listed and not (self.outstanding or self.gaps or self.missing)


async def audit(database: Database, store_id: str | None) -> AsyncIterator[EpochCompleteness]:
    """Yield the epochs of one store or of all, by store, till and epoch; one read per store."""
    async for name in store_ids_in(database, _TABLES, store_id):
        for epoch in await database.read(partial(epochs_of, store_id=name)):
            yield epoch


def epochs_of(connection: sa.Connection, store_id: str) -> list[EpochCompleteness]:
    """Return the state of every epoch of a store, without its retired tills."""
    of_store = {_STORE.key: store_id}
    missing, rejected, lost = (
        _ranges(connection.execute(statement, of_store))
        for statement in (_MISSING, _REJECTED, _GAPS)
    )
    listed = connection.execute(_LISTED, of_store).all()
    retired = {row.till_id for row in listed if row.retired_at is not None}
    epochs = []
    for statement, rows in (
        (_LISTED, listed),
        (_UNLISTED, connection.execute(_UNLISTED, of_store).all()),
    ):
        for row in rows:
            if row.till_id in retired:
                continue
            key, accepted_through = (row.till_id, row.epoch), row.accepted_through
            without_row = missing.get(key, [])
            outstanding = [Range(accepted_through + 1, row.last_sequence)]
            epoch = EpochCompleteness(
                store_id=store_id,
                till_id=row.till_id,
                epoch=row.epoch,
                listed=statement is _LISTED,
                accepted_through=accepted_through,
                complete_through=without_row[0].first - 1 if without_row else accepted_through,
                purged_through=row.purged_through,
                outstanding=outstanding if row.last_sequence > accepted_through else [],
                rejected=rejected.get(key, []),
                gaps=lost.get(key, []),
                missing=without_row,
            )
            epochs.append(epoch)
    return sorted(epochs, key=lambda epoch: (epoch.till_id, epoch.epoch))


def _ranges(rows: sa.CursorResult[Any]) -> dict[tuple[str, str], list[Range]]:
    """Return the ranges by till and epoch."""
    found: dict[tuple[str, str], list[Range]] = {}
    for row in rows:
        found.setdefault((row.till_id, row.epoch), []).append(Range(row.first, row.last))
    return found


def _missing() -> sa.Select[tuple[object, ...]]:
    """Select the ranges of numbers up to `accepted_through` that have no row, in order.

    Gaps and islands: every row covers an interval. Where an interval begins beyond the end of all
    previous ones, the numbers between are missing. A sentinel interval after `accepted_through`
    ends the search.
    """
    covered = _covered().subquery()
    in_order = (covered.c.first, covered.c.last)
    before = func.max(covered.c.last).over(
        partition_by=[covered.c[name] for name in _KEY], order_by=in_order, rows=(None, -1)
    )
    candidates = sa.select(
        covered.c.till_id,
        covered.c.epoch,
        _next(func.coalesce(before, 0)).label("first"),
        (covered.c.first - 1).label("last"),
    ).subquery()
    return (
        sa.select(candidates)
        .where(candidates.c.first <= candidates.c.last)
        .order_by(candidates.c.till_id, candidates.c.epoch, candidates.c.first)
    )


def _next(number: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return `number` + 1, capped at the largest BIGINT."""
    return sa.case((number < _MAX_BIGINT, number + 1), else_=_MAX_BIGINT)


def _covered() -> sa.CompoundSelect[tuple[object, ...]]:
    ends = sa.select(
        agents.c.till_id,
        agents.c.epoch,
        _next(agents.c.accepted_through).label("first"),
        _next(agents.c.accepted_through).label("last"),
    ).where(agents.c.store_id == _STORE)
    purged = sa.select(
        agents.c.till_id, agents.c.epoch, sa.literal(1), agents.c.purged_through
    ).where(agents.c.store_id == _STORE, agents.c.purged_through > 0)
    numbered = (
        sa.select(table.c.till_id, table.c.epoch, table.c.sequence, table.c.sequence)
        .outerjoin(agents, _is_same_epoch(table))
        .where(table.c.store_id == _STORE, _is_accepted(table.c.sequence))
        for table in _NUMBERED
    )
    recorded = (
        sa.select(gaps.c.till_id, gaps.c.epoch, gaps.c.first_sequence, gaps.c.last_sequence)
        .outerjoin(agents, _is_same_epoch(gaps))
        .where(gaps.c.store_id == _STORE, _is_accepted(gaps.c.first_sequence))
        # An answer whose address the agent had erased has a row and a gap; the gap must not hide a
        # lost row.
        .where(gaps.c.reason != ADDRESS_ERASED)
    )
    return sa.union_all(ends, purged, *numbered, recorded)


def _unlisted() -> sa.Select[tuple[object, ...]]:
    """Select the epochs without a row in `agents`, in the shape of such a row."""
    numbers = (*((table, table.c.sequence) for table in _NUMBERED), (gaps, gaps.c.last_sequence))
    rows = sa.union_all(
        *(
            sa.select(table.c.till_id, table.c.epoch, number.label("number"))
            .where(table.c.store_id == _STORE)
            .where(~sa.exists().where(_is_same_epoch(table)))
            for table, number in numbers
        )
    ).subquery()
    key, highest = (rows.c.till_id, rows.c.epoch), func.max(rows.c.number)
    through = (highest.label("accepted_through"), highest.label("last_sequence"))
    return sa.select(*key, *through, sa.literal(0).label("purged_through")).group_by(*key)


def _is_same_epoch(table: sa.Table) -> sa.ColumnElement[bool]:
    key = ("store_id", *_KEY)
    return sa.and_(*(agents.c[name] == table.c[name] for name in key))


def _is_accepted(number: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    return sa.or_(agents.c.epoch.is_(None), number <= agents.c.accepted_through)


def _rejected() -> sa.Select[tuple[object, ...]]:
    """Select the ranges of rejected numbers, in order."""
    key = [rejections.c[name] for name in _KEY]
    rank = func.row_number().over(partition_by=key, order_by=rejections.c.sequence)
    numbered = (
        sa.select(*key, rejections.c.sequence, (rejections.c.sequence - rank).label("group"))
        .where(rejections.c.store_id == _STORE)
        .subquery()
    )
    epoch = (numbered.c.till_id, numbered.c.epoch)
    first, last = func.min(numbered.c.sequence), func.max(numbered.c.sequence)
    return (
        sa.select(*epoch, first.label("first"), last.label("last"))
        .group_by(*epoch, numbered.c.group)
        .order_by(*epoch, first)
    )


# Compiled once at import: building them costs more than running them on a small store.
_LISTED = sa.select(agents).where(agents.c.store_id == _STORE)
_UNLISTED = _unlisted()
_MISSING, _REJECTED = _missing(), _rejected()
_GAPS = (
    sa.select(gaps, gaps.c.first_sequence.label("first"), gaps.c.last_sequence.label("last"))
    .where(gaps.c.store_id == _STORE)
    .order_by(*gaps.primary_key)
)
