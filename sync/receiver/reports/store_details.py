"""Details of one store: tills, epochs, rejected events, gaps."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlmodel import Session, col, select

from sync.receiver.db.tables import AgentRecord, GapRecord, RejectionRecord
from sync.receiver.reports.tills import Reference, TillStatus, list_tills

MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class StoreDetails:
    """A store's tills, and the newest `MAX_ROWS` epochs, rejections and gaps."""

    tills: Sequence[TillStatus]
    epochs: Sequence[AgentRecord]
    rejections: Sequence[RejectionRecord]
    gaps: Sequence[GapRecord]


def store_details(
    connection: Connection, reference: Reference, store_id: str
) -> StoreDetails | None:
    """Return the details of a store, or None if it is unknown."""
    tills = list_tills(connection, reference, store_id)
    if not tills:
        return None
    agents = select(AgentRecord).where(AgentRecord.store_id == store_id)
    rejections = select(RejectionRecord).where(RejectionRecord.store_id == store_id)
    gaps = select(GapRecord).where(GapRecord.store_id == store_id)
    with Session(connection) as session:
        last_contact_first = col(AgentRecord.last_seen_at).desc().nulls_last()
        return StoreDetails(
            tills=tills,
            epochs=session.exec(agents.order_by(last_contact_first).limit(MAX_ROWS)).all(),
            rejections=session.exec(
                rejections.order_by(col(RejectionRecord.received_at).desc()).limit(MAX_ROWS)
            ).all(),
            gaps=session.exec(gaps.order_by(col(GapRecord.noted_at).desc()).limit(MAX_ROWS)).all(),
        )
