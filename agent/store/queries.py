"""Queries of the store for status, metrics and lookups, on short-lived read-only connections."""

from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, and_, col, func, select

from agent.facts import DeliveryState, Receipt
from agent.store.db.connect import database_bytes, reading_engine, session_on
from agent.store.db.cursor import CENTRAL, DeliveryCursor, read_cursor
from agent.store.db.epochs import EpochRange, read_epochs
from agent.store.db.sql import driver_connection
from agent.store.db.tables import (
    DeadLetterRow,
    DeliveryRow,
    EmailAnswerRow,
    EventRow,
    SessionRow,
    SettledRow,
)
from agent.store.files.quarantine import list_quarantined
from agent.store.files.storage_errors import free_bytes

_position = col(EventRow.position)
_first_acknowledgement = (
    select(DeliveryRow.delivered_at_us)
    .where(DeliveryRow.destination == CENTRAL, col(DeliveryRow.through_position) >= _position)
    .order_by(col(DeliveryRow.through_position))
    .limit(1)
    .scalar_subquery()
)
_CAPTURES = (
    select(
        EventRow,
        EmailAnswerRow.status,
        DeadLetterRow.position,
        func.coalesce(SettledRow.delivered_at_us, _first_acknowledgement),
    )
    .outerjoin(EmailAnswerRow, col(EmailAnswerRow.position) == _position)
    .outerjoin(
        DeadLetterRow,
        and_(DeadLetterRow.destination == CENTRAL, DeadLetterRow.position == _position),
    )
    .outerjoin(
        SettledRow, and_(SettledRow.destination == CENTRAL, SettledRow.position == _position)
    )
    .order_by(_position)
)


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """State of one capture. Times in microseconds since 1970 UTC; `status` of an e-mail answer."""

    receipt: Receipt
    captured_at_us: int
    state: DeliveryState
    delivered_at_us: int | None
    status: str | None


@dataclass(frozen=True, slots=True)
class EpochProgress:
    """The last sequence number of an epoch, and the last one that central settled without a gap.

    All events from `base_sequence` on are held.
    """

    epoch: str
    last_sequence: int
    settled_through: int
    base_sequence: int = 1


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """State of the store, for the status page, metrics and heartbeats.

    Sizes in bytes, times in microseconds since 1970 UTC. The last of `epochs` is the current one;
    `waiting` counts the pending events of all epochs.
    """

    epochs: list[EpochProgress]
    waiting: int
    oldest_waiting_at_us: int | None
    last_activity_at_us: int | None
    dead_letters: int
    database_bytes: int
    free_bytes: int
    quarantined: list[str]

    @property
    def current(self) -> EpochProgress:
        """The epoch of new captures."""
        return self.epochs[-1]


class StoreReader:
    """Queries the store of a directory. Blocking: call it off the event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._engine = reading_engine(directory)

    def session(self, correlation_id: str) -> list[CaptureStatus]:
        """Return a session start and its answers, in order; empty if there is none."""
        with session_on(self._engine) as session:
            epochs = read_epochs(driver_connection(session))
            watermark = read_cursor(driver_connection(session)).watermark
            positions = _positions_of(session, correlation_id)
            return [
                CaptureStatus(
                    receipt=epochs.receipt(event.position),
                    captured_at_us=event.occurred_at_us,
                    state=_state(
                        is_refused=dead_letter is not None,
                        is_settled=event.position <= watermark or delivered_at_us is not None,
                    ),
                    delivered_at_us=delivered_at_us if dead_letter is None else None,
                    status=status,
                )
                for event, status, dead_letter, delivered_at_us in session.exec(
                    _CAPTURES.where(_position.in_(positions))
                )
            ]

    def status(self) -> StorageStatus:
        """Return backlog and sizes; the cost does not depend on the backlog."""
        with session_on(self._engine) as session:
            epochs = read_epochs(driver_connection(session))
            cursor = read_cursor(driver_connection(session))
            settled_ahead = session.exec(
                select(func.count()).where(
                    SettledRow.destination == CENTRAL, col(SettledRow.position) > cursor.watermark
                )
            ).one()
            dead_letters = session.exec(
                select(func.count()).where(
                    DeadLetterRow.destination == CENTRAL,
                    col(DeadLetterRow.discarded_at_us).is_(None),
                )
            ).one()
            time_of = select(EventRow.occurred_at_us)
            pending = time_of.where(_position > cursor.watermark).order_by(_position).limit(1)
            oldest_at_us = session.exec(pending).first()
            newest = select(func.max(EventRow.position)).scalar_subquery()
            newest_at_us = session.exec(time_of.where(_position == newest)).first()
        return StorageStatus(
            epochs=[_progress(known, cursor) for known in epochs.ranges],
            waiting=epochs.last_position - cursor.watermark - settled_ahead,
            oldest_waiting_at_us=oldest_at_us,
            last_activity_at_us=newest_at_us,
            dead_letters=dead_letters,
            database_bytes=database_bytes(self._directory),
            free_bytes=free_bytes(self._directory),
            quarantined=list_quarantined(self._directory),
        )


def _positions_of(session: Session, correlation_id: str) -> list[int]:
    """Return the position of a session start and of its answers."""
    start = session.exec(
        select(SessionRow.position).where(SessionRow.correlation_id == correlation_id)
    ).first()
    answers = select(EmailAnswerRow.position).where(EmailAnswerRow.session_position == start)
    return [] if start is None else [start, *session.exec(answers)]


def _state(*, is_refused: bool, is_settled: bool) -> DeliveryState:
    if is_refused:
        return DeliveryState.REFUSED
    return DeliveryState.DELIVERED if is_settled else DeliveryState.WAITING


def _progress(known: EpochRange, cursor: DeliveryCursor) -> EpochProgress:
    settled = min(max(0, cursor.watermark - known.base_position), known.last_sequence)
    base_sequence = known.base_sequence(cursor.purged_through)
    return EpochProgress(known.epoch, known.last_sequence, settled, base_sequence)
