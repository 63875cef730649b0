"""Details of one store: tills, and the newest of its epochs, rejected events and gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func

from sync.receiver.db.conditions import IS_CURRENT, is_in_service
from sync.receiver.db.tables import agents, gaps, rejections
from sync.receiver.ingest.epochs.end import is_unconfirmed
from sync.receiver.reports.tills import Reference, TillStatus, list_tills

MAX_ROWS = 100
# Caps the count queries: a page must not take longer because a till made a million rows.
MAX_COUNTED = 1_000
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RowsLeftOut:
    """Number of further rows of each kind, at most `MAX_COUNTED`."""

    epochs: int
    rejections: int
    gaps: int


@dataclass(frozen=True, slots=True)
class StoreDetails:
    """A store's tills, and the newest `MAX_ROWS` epochs, rejections and gaps.

    Among the epochs are the tills' current ones, and those that are not confirmed.
    """

    tills: Sequence[TillStatus]
    epochs: Sequence[sa.Row[Any]]
    rejections: Sequence[sa.Row[Any]]
    gaps: Sequence[sa.Row[Any]]
    left_out: RowsLeftOut


def store_details(
    connection: sa.Connection, reference: Reference, store_id: str
) -> StoreDetails | None:
    """Return the details of a store, or None if it is unknown."""
    tills = list_tills(connection, reference, store_id)
    if not tills:
        return None
    epochs = _newest_epochs(connection, store_id)
    rejected = _newest(connection, store_id, rejections, "received_at")
    lost = _newest(connection, store_id, gaps, "noted_at")
    left_out = RowsLeftOut(
        epochs=_count_more(connection, store_id, agents, len(epochs)),
        rejections=_count_more(connection, store_id, rejections, len(rejected)),
        gaps=_count_more(connection, store_id, gaps, len(lost)),
    )
    return StoreDetails(tills, epochs, rejected, lost, left_out)


def _newest_epochs(connection: sa.Connection, store_id: str) -> Sequence[sa.Row[Any]]:
    """Return the current epochs, unconfirmed ones and the last begun, by their last contact."""
    of_store = sa.select(agents).where(agents.c.store_id == store_id, is_in_service(agents))
    # Four reads of an index each. `begun_at` is unknown for epochs from before it was stored.
    begun = agents.c.begun_at.is_not(None)
    statements = (
        of_store.where(IS_CURRENT),
        of_store.where(is_unconfirmed(agents)),
        of_store.where(begun).order_by(agents.c.begun_at.desc()),
        of_store.where(~begun),
    )
    found: dict[tuple[str, str], sa.Row[Any]] = {}
    for statement in statements:
        for row in connection.execute(statement.limit(MAX_ROWS)):
            if len(found) < MAX_ROWS:
                found.setdefault((row.till_id, row.epoch), row)

    return sorted(found.values(), key=lambda row: row.last_seen_at or _NEVER, reverse=True)


def _newest(
    connection: sa.Connection, store_id: str, table: sa.Table, time: str
) -> Sequence[sa.Row[Any]]:
    # Plain rows: as objects of the ORM they made these queries a third slower.
    rows = sa.select(table).where(table.c.store_id == store_id, is_in_service(table))
    return connection.execute(rows.order_by(table.c[time].desc()).limit(MAX_ROWS)).all()


def _count_more(connection: sa.Connection, store_id: str, table: sa.Table, shown: int) -> int:
    if shown < MAX_ROWS:
        return 0
    rows = sa.select(table.c.store_id).where(table.c.store_id == store_id, is_in_service(table))
    some = rows.limit(MAX_COUNTED + MAX_ROWS).subquery()
    return (connection.scalar(sa.select(func.count()).select_from(some)) or 0) - shown
