"""State of each till, in SQL: its latest heartbeat, and the conditions that follow from it.

Includes tills that are enrolled and have never sent anything; excludes retired ones.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func

from sync.protocol.rfc3339 import json_time
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.conditions import IS_CURRENT
from sync.receiver.db.database import Reads
from sync.receiver.db.tables import agents, join_codes, tokens
from sync.receiver.ingest.epochs.end import is_unconfirmed
from sync.receiver.reports.conditions import STATES, Condition, plausible_duration
from sync.receiver.reports.store_list import StoreRange, TillKey, stores_after
from sync.receiver.reports.till_conditions import conditions_of, durations_of, is_shared

STORES_PER_READ = 200
_TWO_MACHINES = (
    "Two machines send under this name. Enrol one of them under another name (loyalty-hq enroll {}"
    " …), and set it on the machine. Nothing is lost meanwhile."
)

_REPORTED = (
    "store_id",
    "till_id",
    "heartbeat_at",
    "agent_sent_at",
    "agent_version",
    "outstanding",
    "dead_letters",
    "oldest_undelivered_at",
    "last_activity_at",
    "free_bytes",
    "heartbeat_before_at",
    "outstanding_before",
    "last_seen_at",
    "epochs_refused_at",
    "terms_refused",
    "speaker_returns",
    "speaker_returned_at",
    "salvage_pending",
    "salvage_salvaged",
    "salvage_unreadable",
    "closed_at",
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Head office's time and version, with which those of the tills are compared."""

    now: datetime
    version: str

    def as_of(self) -> dict[str, object]:
        """Return the time as the first member of a report."""
        return {"asOf": json_time(self.now)}


@dataclass(frozen=True, slots=True)
class TillStatus:
    """A till by its latest heartbeat. `conditions` is ordered, most severe first.

    `clock_ahead` is the offset of its clock from ours, None if unknown; `oldest_age` the age of
    the oldest undelivered event; `time_to_empty` estimates when the backlog will be delivered.
    `salvage`: damaged database files not read yet, captures salvaged, captures lost.
    `unconfirmed_epochs` counts the epochs that ended without the last word of their machine.
    `closed_at`: it was switched off in order, and not heard since.
    """

    store_id: str
    till_id: str
    conditions: tuple[Condition, ...]
    last_contact_at: datetime | None
    backlog: int
    dead_letters: int
    last_activity_at: datetime | None
    clock_ahead: timedelta | None
    free_bytes: int | None
    version: str | None
    oldest_age: timedelta | None
    time_to_empty: timedelta | None
    terms_refused: str | None = None
    salvage: tuple[int, int, int] | None = None
    unconfirmed_epochs: int = 0
    closed_at: datetime | None = None

    @property
    def is_shared(self) -> bool:
        """Return whether two machines send under its name."""
        return Condition.SHARED_NAME in self.conditions

    @property
    def state(self) -> Condition:
        """The most severe condition."""
        return next((one for one in STATES if one in self.conditions), Condition.DELIVERING)

    @property
    def advice(self) -> str:
        """The next step for the people at head office; empty if there is none."""
        return _TWO_MACHINES.format(self.store_id) if self.is_shared else ""

    def state_members(self) -> dict[str, object]:
        """Return the state as members of a JSON object."""
        members: dict[str, object] = {
            "state": self.state,
            "conditions": self.conditions,
            "closedAt": json_time(self.closed_at),
        }
        return members | ({"advice": self.advice} if self.advice else {})


def list_tills(
    connection: sa.Connection,
    reference: Reference,
    store_id: str | None = None,
    stores: StoreRange | None = None,
) -> Sequence[TillStatus]:
    """Return the tills of one store, of a range or of all, ordered by store and till."""
    found = tills(reference, store_id)
    in_order = sa.select(found).order_by(found.c.store_id, found.c.till_id)
    if stores is not None:
        # Both databases apply these within the branches of the union, with their indexes.
        in_order = in_order.where(found.c.store_id > stores.after)
        if stores.through is not None:
            in_order = in_order.where(found.c.store_id <= stores.through)
    return [_status(row) for row in connection.execute(in_order).mappings()]


async def till_pages(database: Reads, reference: Reference) -> AsyncIterator[Sequence[TillStatus]]:
    """Yield the tills of all stores in order, those of some stores in each read."""
    stores = await stores_after(database, "", STORES_PER_READ)
    while True:
        yield await database.read(partial(list_tills, reference=reference, stores=stores))
        if stores.through is None:
            return
        stores = await stores_after(database, stores.through, STORES_PER_READ)


def till_states(
    connection: sa.Connection, first: TillKey, last: TillKey, reference: Reference
) -> Mapping[TillKey, Mapping[str, object]]:
    """Return the state of the tills from the first to the last key, as members for `/v1/stores`."""
    found = tills(reference)
    key = (found.c.store_id, found.c.till_id)
    # The bounds of the stores: an index begins with them.
    in_stores = found.c.store_id.between(first[0], last[0])
    in_range = in_stores, sa.tuple_(*key) >= sa.tuple_(*first), sa.tuple_(*key) <= sa.tuple_(*last)
    rows = connection.execute(sa.select(found).where(*in_range)).mappings()
    return {(one.store_id, one.till_id): one.state_members() for one in map(_status, rows)}


def shared_names(connection: sa.Connection, now: datetime, most: int) -> Sequence[AgentName]:
    """Return the first tills under whose name two machines send, by store and till."""
    key = (agents.c.store_id, agents.c.till_id)
    found = (
        sa.select(*key)
        .where(IS_CURRENT, agents.c.retired_at.is_(None), is_shared(agents, now))
        .order_by(*key)
        .limit(most)
    )
    return [AgentName(*row) for row in connection.execute(found)]


def tills(reference: Reference, store_id: str | None = None, search: str = "") -> sa.Subquery:
    """Return one row per till, of one store or of stores whose name contains `search`."""
    latest = sa.union_all(_with_contact(store_id, search), _without_contact(store_id, search))
    last = latest.subquery("last")
    conditions = conditions_of(last, reference.now, reference.version).items()
    flags = (sa.case((is_true, 1), else_=0).label(one.column) for one, is_true in conditions)
    return sa.select(last, *flags, *durations_of(last, reference.now)).subquery("tills")


def _with_contact(store_id: str | None, search: str) -> sa.Select[Any]:
    """Select the current epoch of each till: a till can have named thousands."""
    missing = agents.c.last_sequence - agents.c.accepted_through
    is_any_missing = sa.or_(missing > 0, agents.c.older_missing > 0)
    unconfirmed = _unconfirmed(store_id, search)
    is_till = (agents.c[name] == unconfirmed.c[name] for name in ("store_id", "till_id"))
    return (
        sa.select(
            *(agents.c[name] for name in _REPORTED),
            sa.case((is_any_missing, 1), else_=0).label("is_any_missing"),
            func.coalesce(unconfirmed.c.epochs, 0).label("unconfirmed_epochs"),
        )
        .outerjoin_from(agents, unconfirmed, sa.and_(*is_till))
        .where(_is_selected(agents, store_id, search), IS_CURRENT, agents.c.retired_at.is_(None))
    )


def _unconfirmed(store_id: str | None, search: str) -> sa.Subquery:
    """Select the number of unconfirmed epochs of each till that has any; in an honest chain few."""
    epochs = agents.alias("epochs")
    key = (epochs.c.store_id, epochs.c.till_id)
    return (
        sa.select(*key, func.count().label("epochs"))
        .where(_is_selected(epochs, store_id, search), is_unconfirmed(epochs))
        .group_by(*key)
        .subquery("unconfirmed")
    )


def _without_contact(store_id: str | None, search: str) -> sa.Select[Any]:
    """Select the tills that are enrolled and never sent anything, in the same columns.

    Enrolled by a token, or by a join code that no machine may have used yet.
    """
    names = [
        sa.select(table.c.store_id, table.c.till_id).where(_is_selected(table, store_id, search))
        for table in (tokens, join_codes)
    ]
    enrolled = sa.union(*names).subquery("enrolled")
    key = (enrolled.c.store_id, enrolled.c.till_id)
    has_contact = sa.and_(agents.c.store_id == key[0], agents.c.till_id == key[1], IS_CURRENT)
    types = {name: agents.c[name].type for name in _REPORTED[len(key) :]}
    unreported = (sa.cast(sa.null(), kind).label(name) for name, kind in types.items())
    return sa.select(
        *key,
        *unreported,
        sa.literal(0).label("is_any_missing"),
        sa.literal(0).label("unconfirmed_epochs"),
    ).where(~sa.exists().where(has_contact))


def _is_selected(table: sa.FromClause, store_id: str | None, search: str) -> sa.ColumnElement[bool]:
    if store_id is not None:
        return table.c.store_id == store_id
    return table.c.store_id.icontains(search, autoescape=True) if search else sa.true()


def _status(row: sa.RowMapping) -> TillStatus:
    sent_at, heartbeat_at = row["agent_sent_at"], row["heartbeat_at"]
    return TillStatus(
        store_id=row["store_id"],
        till_id=row["till_id"],
        conditions=tuple(one for one in (*STATES, Condition.OTHER_VERSION) if row[one.column]),
        last_contact_at=row["last_seen_at"],
        backlog=row["outstanding"] or 0,
        dead_letters=row["dead_letters"] or 0,
        last_activity_at=row["last_activity_at"],
        clock_ahead=sent_at - heartbeat_at if sent_at and heartbeat_at else None,
        free_bytes=row["free_bytes"],
        version=row["agent_version"],
        oldest_age=plausible_duration(row["oldest_seconds"]),
        time_to_empty=plausible_duration(row["seconds_to_empty"]),
        terms_refused=row["terms_refused"],
        salvage=_salvage(row),
        unconfirmed_epochs=row["unconfirmed_epochs"],
        closed_at=row["closed_at"],
    )


def _salvage(row: sa.RowMapping) -> tuple[int, int, int] | None:
    pending, salvaged = row["salvage_pending"], row["salvage_salvaged"]
    if pending is None or salvaged is None:
        return None
    return pending, salvaged, row["salvage_unreadable"] or 0
