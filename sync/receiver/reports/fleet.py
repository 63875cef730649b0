"""Fleet queries: filter, sort, count and paginate stores in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func

from sync.receiver.auth.tokens import AgentName
from sync.receiver.reports.conditions import NO_FAULTS, STATES, Condition, plausible_duration
from sync.receiver.reports.tills import Reference, shared_names, tills

STORES_PER_PAGE = 50
# There are none in an honest chain; a cloned image can be in all of it.
MAX_SHARED_NAMES = 10


class Sort(StrEnum):
    """Sort keys of the fleet page, as its URL names them."""

    STATE = "state"
    STORE = "store"
    LAST_CONTACT = "heard"
    BACKLOG = "waiting"
    DEAD_LETTERS = "refused"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class FleetQuery:
    """Filter and sort order of the fleet page. `page` is 1-based; one too high shows the last."""

    search: str = ""
    condition: Condition | None = None
    sort: Sort = Sort.STATE
    descending: bool = False
    page: int = 1


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """A row of the fleet page. `tills_in` is the number of tills per condition.

    `last_contact_at` is the latest of any till, `versions` the lowest and highest, `oldest_age` the
    age of the oldest undelivered event, `time_to_empty` the estimated time to an empty backlog:
    None unless every till that is behind makes progress.
    """

    store_id: str
    tills: int
    tills_in: Mapping[Condition, int]
    last_contact_at: datetime | None
    backlog: int
    dead_letters: int
    versions: tuple[str, ...]
    oldest_age: timedelta | None
    time_to_empty: timedelta | None

    @property
    def state(self) -> Condition:
        """The most severe condition.

        One that is no fault, such as not yet installed, counts only if it is that of every till.
        """
        calm = sum(self.tills_in[one] for one in NO_FAULTS)
        states = (one for one in STATES if self.tills_in[one])
        is_shown = (one for one in states if one not in NO_FAULTS or calm >= self.tills)
        return next(is_shown, Condition.DELIVERING)


@dataclass(frozen=True, slots=True)
class FleetPage:
    """A page of stores out of `found`; `counts` are per condition over all search results.

    `shared_names`: the first `MAX_SHARED_NAMES` tills, as store and till, under whose name two
    machines send, in any store.
    """

    stores: list[StoreSummary]
    found: int
    page: int
    pages: int
    counts: Mapping[Condition, int]
    searched: int
    shared_names: Sequence[AgentName] = ()


def fleet_page(connection: sa.Connection, reference: Reference, query: FleetQuery) -> FleetPage:
    """Return a page of the fleet, in one statement, because the tills subquery is costly."""
    rows = connection.execute(_page_and_counts(reference, query)).mappings().all()
    counts = counts_of(rows[0])
    searched = int(rows[0]["searched"])
    found = searched if query.condition is None else counts[query.condition]
    pages = max(1, -(-found // STORES_PER_PAGE))
    if query.page > pages:
        return fleet_page(connection, reference, replace(query, page=pages))
    stores = [_status(row) for row in rows if row["store_id"] is not None]
    names: Sequence[AgentName] = ()
    if counts[Condition.SHARED_NAME]:
        names = shared_names(connection, reference.now, MAX_SHARED_NAMES)
    return FleetPage(stores, found, query.page, pages, counts, searched, names)


def _page_and_counts(reference: Reference, query: FleetQuery) -> sa.Select[Any]:
    """Select the counts joined to each store of the page; a single row if the page is empty."""
    stores = stores_of(tills(reference, search=query.search))
    totals = sa.select(func.count().label("searched"), *count_columns(stores)).select_from(stores)
    counts = totals.subquery()
    rank = func.row_number().over(order_by=_order(stores, query)).label("rank")
    filtered = sa.select(stores, rank)
    if query.condition is not None:
        filtered = filtered.where(_is_in(stores, query.condition))
    ranked = filtered.subquery()
    before = (query.page - 1) * STORES_PER_PAGE
    is_on_page = ranked.c.rank.between(before + 1, before + STORES_PER_PAGE)
    page = sa.select(ranked).where(is_on_page).subquery()
    joined = sa.select(counts, page).join_from(counts, page, sa.true(), isouter=True)
    return joined.order_by(page.c.rank)


def count_columns(stores: sa.CTE) -> list[sa.ColumnElement[int]]:
    """Return the number of stores in each condition, as columns for `counts_of`."""
    return [
        func.sum(sa.case((_is_in(stores, one), 1), else_=0)).label(f"count_{one.column}")
        for one in Condition
    ]


def counts_of(row: sa.RowMapping) -> dict[Condition, int]:
    """Return the number of stores in each condition, from the columns of `count_columns`."""
    return {one: int(row[f"count_{one.column}"] or 0) for one in Condition}


def stores_of(till: sa.Subquery) -> sa.CTE:
    """Return one row per store: the aggregate of its rows in `tills`."""
    flags = [one.column for one in (*STATES, Condition.OTHER_VERSION)]
    is_behind = till.c[Condition.BEHIND.column] > 0
    is_stuck = sa.and_(is_behind, till.c.seconds_to_empty.is_(None))
    return (
        sa.select(
            till.c.store_id,
            func.count().label("tills"),
            func.max(till.c.last_seen_at).label("last_contact_at"),
            _sum(till.c.outstanding).label("backlog"),
            _sum(till.c.dead_letters).label("dead_letters"),
            _sum(till.c.unconfirmed_epochs).label("unconfirmed_epochs"),
            func.max(till.c.oldest_seconds).label("oldest_seconds"),
            func.max(sa.case((is_behind, till.c.seconds_to_empty))).label("seconds_to_empty"),
            func.sum(sa.case((is_stuck, 1), else_=0)).label("stuck"),
            func.min(till.c.agent_version).label("first_version"),
            func.max(till.c.agent_version).label("last_version"),
            *(func.sum(till.c[flag]).label(flag) for flag in flags),
        )
        .group_by(till.c.store_id)
        .cte("stores")
    )


def _sum(reported: sa.ColumnElement[int]) -> sa.ColumnElement[float]:
    # Summed as floats: one till with an absurd number must not overflow the total.
    return func.sum(sa.cast(func.coalesce(reported, 0), sa.Float))


def _is_in(stores: sa.CTE, condition: Condition) -> sa.ColumnElement[bool]:
    if condition is Condition.DELIVERING:
        return _severity(stores) == len(STATES)
    return stores.c[condition.column] > 0


def _severity(stores: sa.CTE) -> sa.ColumnElement[int]:
    """Return the index of the most severe state; `len(STATES)` if there is none."""
    is_calm = sum(stores.c[one.column] for one in NO_FAULTS) >= stores.c.tills
    indexes = (
        (sa.and_(stores.c[one.column] > 0, is_calm if one in NO_FAULTS else sa.true()), index)
        for index, one in enumerate(STATES)
    )
    return sa.case(*indexes, else_=len(STATES))


def _order(stores: sa.CTE, query: FleetQuery) -> tuple[sa.ColumnElement[Any], ...]:
    by: Mapping[Sort, sa.ColumnElement[Any]] = {
        Sort.STATE: _severity(stores),
        Sort.STORE: stores.c.store_id,
        Sort.LAST_CONTACT: stores.c.last_contact_at,
        Sort.BACKLOG: stores.c.backlog,
        Sort.DEAD_LETTERS: stores.c.dead_letters,
        Sort.VERSION: stores.c.first_version,
    }
    first = by[query.sort]
    if query.descending:
        return first.desc().nulls_last(), stores.c.store_id
    return first.asc().nulls_first(), stores.c.store_id


def _status(row: sa.RowMapping) -> StoreSummary:
    versions = {row["first_version"], row["last_version"]} - {None}
    return StoreSummary(
        store_id=row["store_id"],
        tills=row["tills"],
        tills_in={one: int(row[one.column]) for one in (*STATES, Condition.OTHER_VERSION)},
        last_contact_at=row["last_contact_at"],
        backlog=int(row["backlog"]),
        dead_letters=int(row["dead_letters"]),
        versions=tuple(sorted(versions)),
        oldest_age=plausible_duration(row["oldest_seconds"]),
        time_to_empty=None if row["stuck"] else plausible_duration(row["seconds_to_empty"]),
    )
