"""SQL of the completeness audit: the numbers of a store's epochs without a row, as ranges."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func

from sync.receiver.db.conditions import IS_CURRENT
from sync.receiver.db.tables import agents, answers, duplicates, gaps, rejections, sessions
from sync.receiver.ingest.gaps import ACKNOWLEDGEMENT
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED

_STORE = sa.bindparam("of_store", type_=sa.Text)
_KEY = ("till_id", "epoch")
_AFTER = tuple(sa.bindparam(f"after_{name}", type_=sa.Text) for name in _KEY)
_THROUGH = tuple(sa.bindparam(f"through_{name}", type_=sa.Text) for name in _KEY)
_MOST = sa.bindparam("most", type_=sa.BigInteger)
_MAX_BIGINT = sa.literal(2**63 - 1, sa.BigInteger)
_NUMBERED = (sessions, answers, rejections, duplicates)
_ACKNOWLEDGEMENT = [gaps.c[name] for name in ACKNOWLEDGEMENT]
AUDITED_TABLES = (agents, *_NUMBERED, gaps)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Condition for the rows of the epochs above `after` and up to `through`, if given."""

    has_lower: bool
    has_upper: bool

    def of(self, table: sa.Table) -> sa.ColumnElement[bool]:
        key = sa.tuple_(*(table.c[name] for name in _KEY))
        lower = [key > sa.tuple_(*_AFTER)] if self.has_lower else []
        upper = [key <= sa.tuple_(*_THROUGH)] if self.has_upper else []
        return sa.and_(table.c.store_id == _STORE, *lower, *upper)


def _missing(bounds: _Bounds) -> sa.Select[tuple[object, ...]]:
    """Select the ranges of numbers up to `accepted_through` that have no row, in order.

    Gaps and islands: every row covers an interval. Where an interval begins beyond the end of all
    previous ones, the numbers between are missing. A sentinel interval after `accepted_through`
    ends the search.
    """
    covered = _covered(bounds).subquery()
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
        .limit(_MOST)
    )


def _next(number: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return `number` + 1, capped at the largest BIGINT."""
    return sa.case((number < _MAX_BIGINT, number + 1), else_=_MAX_BIGINT)


def _covered(bounds: _Bounds) -> sa.CompoundSelect[tuple[object, ...]]:
    ends = sa.select(
        agents.c.till_id,
        agents.c.epoch,
        _next(agents.c.accepted_through).label("first"),
        _next(agents.c.accepted_through).label("last"),
    ).where(bounds.of(agents))
    purged = sa.select(
        agents.c.till_id, agents.c.epoch, sa.literal(1), agents.c.purged_through
    ).where(bounds.of(agents), agents.c.purged_through > 0)
    numbered = (
        sa.select(table.c.till_id, table.c.epoch, table.c.sequence, table.c.sequence)
        .outerjoin(agents, _is_same_epoch(table))
        .where(bounds.of(table), _is_accepted(table.c.sequence))
        for table in _NUMBERED
    )
    recorded = (
        sa.select(gaps.c.till_id, gaps.c.epoch, gaps.c.first_sequence, gaps.c.last_sequence)
        .outerjoin(agents, _is_same_epoch(gaps))
        .where(bounds.of(gaps), _is_accepted(gaps.c.first_sequence))
        # An answer whose address the agent had erased has a row and a gap; the gap must not hide a
        # lost row.
        .where(gaps.c.reason != ADDRESS_ERASED)
    )
    return sa.union_all(ends, purged, *numbered, recorded)


def _unlisted(bounds: _Bounds) -> sa.Select[tuple[object, ...]]:
    """Select the epochs without a row in `agents`, in the shape of such a row."""
    numbers = (*((table, table.c.sequence) for table in _NUMBERED), (gaps, gaps.c.last_sequence))
    rows = sa.union_all(
        *(
            sa.select(table.c.till_id, table.c.epoch, number.label("number"))
            .where(bounds.of(table))
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


def _rejected(bounds: _Bounds) -> sa.Select[tuple[object, ...]]:
    """Select the ranges of rejected numbers, in order."""
    key = [rejections.c[name] for name in _KEY]
    rank = func.row_number().over(partition_by=key, order_by=rejections.c.sequence)
    numbered = (
        sa.select(*key, rejections.c.sequence, (rejections.c.sequence - rank).label("group"))
        .where(bounds.of(rejections))
        .subquery()
    )
    epoch = (numbered.c.till_id, numbered.c.epoch)
    first, last = func.min(numbered.c.sequence), func.max(numbered.c.sequence)
    return (
        sa.select(*epoch, first.label("first"), last.label("last"))
        .group_by(*epoch, numbered.c.group)
        .order_by(*epoch, first)
        .limit(_MOST)
    )


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of one read. Each but `unlisted` returns at most `most` rows."""

    listed: sa.Select[Any]
    unlisted: sa.Select[Any]
    missing: sa.Select[Any]
    rejected: sa.Select[Any]
    gaps: sa.Select[Any]


@cache
def queries_for(has_lower: bool, has_upper: bool) -> Queries:  # noqa: FBT001 - the cache's key
    """Return the statements; building them costs more than running them on a small store."""
    bounds = _Bounds(has_lower, has_upper)
    first, last = gaps.c.first_sequence.label("first"), gaps.c.last_sequence.label("last")
    return Queries(
        listed=sa.select(agents)
        .where(bounds.of(agents))
        .order_by(*agents.primary_key)
        .limit(_MOST),
        unlisted=_unlisted(bounds),
        missing=_missing(bounds),
        rejected=_rejected(bounds),
        gaps=sa.select(gaps.c.till_id, gaps.c.epoch, first, last, *_ACKNOWLEDGEMENT)
        .where(bounds.of(gaps))
        .order_by(*gaps.primary_key)
        .limit(_MOST),
    )


SELECT_RETIRED_TILLS = sa.select(agents.c.till_id).where(
    agents.c.store_id == _STORE, IS_CURRENT, agents.c.retired_at.is_not(None)
)
