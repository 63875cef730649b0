"""Delivery times: the retention window, the position delivered before a time, impossible times.

A clock that was wrong leaves impossible times. An event delivered "in 2099" would be kept until
then; one delivered "in 1970" would be purged at once. Both times are replaced by that of the
repair.
"""

import sqlite3
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, or_, select, update

from agent.store.db.cursor import CENTRAL, DeliveryCursor
from agent.store.db.tables import DeadLetterRow, DeliveryRow, SettledRow

DAY_US = 24 * 3600 * 1_000_000
# 2025, before this program existed. A clock that reads less is wrong itself and repairs nothing.
EARLIEST_US = 1_735_689_600_000_000
FIRST_YOUNGER = """
SELECT through_position FROM delivery
WHERE destination = 'central' AND through_position > ?
    AND (delivered_at_us > ? OR delivered_at_us IS NULL)
ORDER BY through_position LIMIT 1
"""
LAST_BEFORE = """
SELECT coalesce(max(through_position), 0) FROM delivery
WHERE destination = 'central' AND through_position < ?
"""
_TABLES = (
    (DeliveryRow, col(DeliveryRow.destination), col(DeliveryRow.delivered_at_us)),
    (SettledRow, col(SettledRow.destination), col(SettledRow.delivered_at_us)),
    (DeadLetterRow, col(DeadLetterRow.destination), col(DeadLetterRow.discarded_at_us)),
)


@dataclass(frozen=True, slots=True)
class RetentionWindow:
    """The last `days` before `now_us`: captures delivered in it are still kept."""

    days: float
    now_us: int

    def covers(self, at_us: int) -> bool:
        """Return whether captures delivered at that time are still kept."""
        return at_us + self.days * DAY_US >= self.now_us


def delivered_before(
    connection: sqlite3.Connection, cursor: DeliveryCursor, cutoff_us: int, *, above: int
) -> int:
    """Return the highest P such that every event in (above, P] was delivered by `cutoff_us`.

    The first younger acknowledgement ends the range: if the clock was wrong for a while, in 1970
    for example, no event below it looks old.
    """
    younger = connection.execute(FIRST_YOUNGER, (above, cutoff_us)).fetchone()
    if younger is None:
        return cursor.watermark
    (before,) = connection.execute(LAST_BEFORE, younger).fetchone()
    return min(int(before), cursor.watermark)


def has_impossible_times(session: Session, now_us: int) -> bool:
    """Return whether there is an impossible time. Read-only."""
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
