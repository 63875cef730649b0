"""Fleet queries: filters, sorts, counts and paginates stores in SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Float,
    RowMapping,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    select,
    true,
)

from sync.receiver.reports.conditions import LONGEST_TOLD, TROUBLES, Condition, span_of
from sync.receiver.reports.tills import Moment, tills

STORES_ON_A_PAGE = 50


class Sort(StrEnum):
    """Sort keys of the fleet page."""

    STATE = "state"
    STORE = "store"
    HEARD = "heard"
    WAITING = "waiting"
    REFUSED = "refused"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class Question:
    """Filter and sort order of the fleet page. `page` is 1-based; one too high shows the last."""

    search: str = ""
    condition: Condition | None = None
    sort: Sort = Sort.STATE
    descending: bool = False
    page: int = 1


@dataclass(frozen=True, slots=True)
class Store:
    """A row of the fleet page. `holding` is the number of tills per condition.

    `heard_at` is the latest contact of any till, `versions` the lowest and highest, `oldest` the
    age of the oldest undelivered event, `left` the estimated time to an empty backlog: None unless
    every till that is behind makes progress.
    """

    store_id: str
    tills: int
    holding: Mapping[Condition, int]
    heard_at: datetime | None
    waiting: int
    refused: int
    versions: tuple[str, ...]
    oldest: timedelta | None
    left: timedelta | None

    @property
    def state(self) -> Condition:
        """The most severe condition."""
        return next((one for one in TROUBLES if self.holding[one]), Condition.DELIVERING)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A page of stores out of `found`; `counts` are per condition over all search results."""

    stores: list[Store]
    found: int
    page: int
    pages: int
    counts: Mapping[Condition, int]
    searched: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Totals over all stores. `oldest_seconds` is the age of the oldest undelivered event."""

    stores: int
    holding: Mapping[Condition, int]
    waiting: int
    refused: int
    oldest_seconds: float


def tally(connection: Connection, moment: Moment) -> Tally:
    """Return the totals over all stores, in one statement."""
    stores = _stores(tills(moment))
    # A wrong clock yields absurd ages that would hide every other.
    told = stores.c.waited_seconds.between(0, LONGEST_TOLD.total_seconds())
    counted = select(
        func.count().label("stores"),
        func.sum(stores.c.waiting).label("waiting"),
        func.sum(stores.c.refused).label("refused"),
        func.max(case((told, stores.c.waited_seconds))).label("oldest"),
        *_counts(stores),
    ).select_from(stores)
    row = connection.execute(counted).mappings().one()
    return Tally(
        stores=row["stores"],
        holding={one: int(row[_count_of(one)] or 0) for one in Condition},
        waiting=int(row["waiting"] or 0),
        refused=int(row["refused"] or 0),
        oldest_seconds=float(row["oldest"] or 0),
    )


def fleet(connection: Connection, moment: Moment, question: Question) -> Fleet:
    """Return a page of the fleet, in one statement, because the tills subquery is costly."""
    rows = connection.execute(_page_and_counts(moment, question)).mappings().all()
    counts = {one: int(rows[0][_count_of(one)] or 0) for one in Condition}
    searched = int(rows[0]["searched"])
    found = searched if question.condition is None else counts[question.condition]
    pages = max(1, -(-found // STORES_ON_A_PAGE))
    if question.page > pages:
        return fleet(connection, moment, replace(question, page=pages))
    shown = [_store(row) for row in rows if row["store_id"] is not None]
    return Fleet(shown, found, question.page, pages, counts, searched)


def _page_and_counts(moment: Moment, question: Question) -> Select[Any]:
    """Select the counts joined to each store of the page; a single row if the page is empty."""
    stores = _stores(tills(moment, search=question.search))
    counted = (
        select(func.count().label("searched"), *_counts(stores)).select_from(stores).subquery()
    )
    place = func.row_number().over(order_by=_order(stores, question)).label("place")
    chosen = select(stores, place)
    if question.condition is not None:
        chosen = chosen.where(_is(stores, question.condition))
    placed = chosen.subquery()
    before = (question.page - 1) * STORES_ON_A_PAGE
    page = (
        select(placed)
        .where(placed.c.place > before, placed.c.place <= before + STORES_ON_A_PAGE)
        .subquery()
    )
    return select(counted, page).join_from(counted, page, true(), isouter=True).order_by("place")


def _counts(stores: CTE) -> list[ColumnElement[int]]:
    return [
        func.sum(case((_is(stores, one), 1), else_=0)).label(_count_of(one)) for one in Condition
    ]


def _count_of(condition: Condition) -> str:
    return f"count_{condition.column}"


def _stores(till: Subquery) -> CTE:
    holding = [
        func.sum(till.c[one.column]).label(one.column)
        for one in (*TROUBLES, Condition.OTHER_VERSION)
    ]
    behind = till.c[Condition.BEHIND.column] > 0
    return (
        select(
            till.c.store_id,
            func.count().label("tills"),
            func.max(till.c.seen_at).label("heard_at"),
            _sum(till.c.outstanding).label("waiting"),
            _sum(till.c.dead_letters).label("refused"),
            func.max(till.c.waited_seconds).label("waited_seconds"),
            func.max(case((behind, till.c.left_seconds))).label("left_seconds"),
            func.sum(case((and_(behind, till.c.left_seconds.is_(None)), 1), else_=0)).label(
                "stuck"
            ),
            func.min(till.c.agent_version).label("first_version"),
            func.max(till.c.agent_version).label("last_version"),
            *holding,
        )
        .group_by(till.c.store_id)
        .cte("stores")
    )


def _sum(told: ColumnElement[int]) -> ColumnElement[float]:
    # Summed as floats: one till with an absurd number must not overflow the total.
    return func.sum(cast(func.coalesce(told, 0), Float))


def _is(stores: CTE, condition: Condition) -> ColumnElement[bool]:
    if condition is Condition.DELIVERING:
        return _gravity(stores) == len(TROUBLES)
    return stores.c[condition.column] > 0


def _gravity(stores: CTE) -> ColumnElement[int]:
    """Return the index of the most severe condition; `len(TROUBLES)` if there is none."""
    places = ((stores.c[one.column] > 0, place) for place, one in enumerate(TROUBLES))
    return case(*places, else_=len(TROUBLES))


def _order(stores: CTE, question: Question) -> tuple[ColumnElement[Any], ...]:
    by: Mapping[Sort, ColumnElement[Any]] = {
        Sort.STATE: _gravity(stores),
        Sort.STORE: stores.c.store_id,
        Sort.HEARD: stores.c.heard_at,
        Sort.WAITING: stores.c.waiting,
        Sort.REFUSED: stores.c.refused,
        Sort.VERSION: stores.c.first_version,
    }
    first = by[question.sort]
    if question.descending:
        return first.desc().nulls_last(), stores.c.store_id
    return first.asc().nulls_first(), stores.c.store_id


def _store(row: RowMapping) -> Store:
    versions = {row["first_version"], row["last_version"]} - {None}
    holding = {one: int(row[one.column]) for one in (*TROUBLES, Condition.OTHER_VERSION)}
    return Store(
        store_id=row["store_id"],
        tills=row["tills"],
        holding=holding,
        heard_at=row["heard_at"],
        waiting=int(row["waiting"]),
        refused=int(row["refused"]),
        versions=tuple(sorted(versions)),
        oldest=span_of(row["waited_seconds"]),
        left=None if row["stuck"] else span_of(row["left_seconds"]),
    )
