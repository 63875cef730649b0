"""Details of one store: tills, epochs, rejected events, gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sync.receiver.db.statements import is_in_service
from sync.receiver.db.tables import agents, gaps, rejections
from sync.receiver.reports.tills import Reference, TillStatus, list_tills

MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class StoreDetails:
    """A store's tills, and the newest `MAX_ROWS` epochs, rejections and gaps."""

    tills: Sequence[TillStatus]
    epochs: Sequence[sa.Row[Any]]
    rejections: Sequence[sa.Row[Any]]
    gaps: Sequence[sa.Row[Any]]


def store_details(
    connection: sa.Connection, reference: Reference, store_id: str
) -> StoreDetails | None:
    """Return the details of a store, or None if it is unknown."""
    tills = list_tills(connection, reference, store_id)
    if not tills:
        return None

    # Plain rows: as objects of the ORM they made these queries a third slower.
    def newest(table: sa.Table, time: str) -> Sequence[sa.Row[Any]]:
        of_store = table.c.store_id == store_id, is_in_service(table)
        rows = sa.select(table).where(*of_store).limit(MAX_ROWS)
        return connection.execute(rows.order_by(table.c[time].desc().nulls_last())).all()

    return StoreDetails(
        tills,
        epochs=newest(agents, "last_seen_at"),
        rejections=newest(rejections, "received_at"),
        gaps=newest(gaps, "noted_at"),
    )
