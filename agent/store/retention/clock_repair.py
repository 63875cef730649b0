"""Repairs impossible delivery times, written while the clock was wrong.

An event delivered "in 2099" would be kept until then; one delivered "in 1970" would be purged at
once. Both times are replaced by the time of the repair.
"""

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, or_, select, update

from agent.store.db.cursor import CENTRAL
from agent.store.db.tables import DeadLetterRow, DeliveryRow, SettledRow

# 2025, before this program existed. A clock that reads less is wrong itself and repairs nothing.
EARLIEST_US = 1_735_689_600_000_000
_TABLES = (
    (DeliveryRow, col(DeliveryRow.destination), col(DeliveryRow.delivered_at_us)),
    (SettledRow, col(SettledRow.destination), col(SettledRow.delivered_at_us)),
    (DeadLetterRow, col(DeadLetterRow.destination), col(DeadLetterRow.discarded_at_us)),
)


def has_impossible_times(session: Session, now_us: int) -> bool:
    """Return True if there is an impossible time. Read-only."""
    return now_us >= EARLIEST_US and any(
        session.exec(
            select(time).where(destination == CENTRAL, _is_impossible(time, now_us)).limit(1)
        ).first()
        is not None
        for _, destination, time in _TABLES
    )


def repair_times(session: Session, now_us: int) -> None:
    """Replace every impossible time by `now_us`."""
    for table, destination, time in _TABLES:
        session.exec(
            update(table)
            .where(destination == CENTRAL, _is_impossible(time, now_us))
            .values({time: now_us})
        )


def _is_impossible(time: Mapped[int] | Mapped[int | None], now_us: int) -> ColumnElement[bool]:
    return or_(time > now_us, time < EARLIEST_US)
