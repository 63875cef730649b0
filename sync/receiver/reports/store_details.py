"""Details of one store: tills, epochs, rejected events, gaps."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlmodel import Session, col, select

from sync.receiver.db.tables import AgentRow, GapRow, RejectionRow
from sync.receiver.reports.tills import Reference, TillStatus, list_tills

MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class StoreDetails:
    """A store's tills, and the newest `MAX_ROWS` epochs, rejections and gaps."""

    tills: Sequence[TillStatus]
    epochs: Sequence[AgentRow]
    rejections: Sequence[RejectionRow]
    gaps: Sequence[GapRow]


def store_details(
    connection: Connection, reference: Reference, store_id: str
) -> StoreDetails | None:
    """Return the details of a store, or None if it is unknown."""
    tills = list_tills(connection, reference, store_id)
    if not tills:
        return None
    agents = select(AgentRow).where(AgentRow.store_id == store_id)
    rejections = select(RejectionRow).where(RejectionRow.store_id == store_id)
    gaps = select(GapRow).where(GapRow.store_id == store_id)
    with Session(connection) as session:
        last_contact_first = col(AgentRow.last_seen_at).desc().nulls_last()
        return StoreDetails(
            tills=tills,
            epochs=session.exec(agents.order_by(last_contact_first).limit(MAX_ROWS)).all(),
            rejections=session.exec(
                rejections.order_by(col(RejectionRow.received_at).desc()).limit(MAX_ROWS)
            ).all(),
            gaps=session.exec(gaps.order_by(col(GapRow.noted_at).desc()).limit(MAX_ROWS)).all(),
        )
