"""Queries of the store for status, metrics and lookups, on short-lived read-only connections."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import and_, bindparam, func, null, or_, select, union_all

from agent.facts import DeliveryState, Receipt
from agent.store.db.connect import database_bytes, read_only
from agent.store.db.cursor import cursor_column, is_central
from agent.store.db.epochs import EpochRange, read_epochs
from agent.store.db.sql import compiled, constant
from agent.store.db.tables import (
    DeadLetterRow,
    DeliveryRow,
    EmailAnswerRow,
    EventRow,
    SessionRow,
    SettledRow,
    table_of,
)
from agent.store.files.storage_errors import free_bytes
from agent.store.recovery.quarantine import list_quarantined

_event = table_of(EventRow)
_session = table_of(SessionRow)
_answer = table_of(EmailAnswerRow)
_delivery = table_of(DeliveryRow)
_settled = table_of(SettledRow)
_dead = table_of(DeadLetterRow)

_watermark = cursor_column("watermark")
_delivered_at = (
    select(_delivery.c.delivered_at_us)
    .where(_delivery.c.destination == is_central, _delivery.c.through_position >= _event.c.position)
    .order_by(_delivery.c.through_position)
    .limit(constant(1))
    .offset(constant(0))
    .scalar_subquery()
)
_named = _session.c.correlation_id == bindparam("correlation_id")
_captures = union_all(
    select(_session.c.position, null().label("status")).where(_named),
    select(_answer.c.position, _answer.c.status)
    .join(_session, _session.c.position == _answer.c.session_position)
    .where(_named),
).subquery()
CAPTURES_OF_SESSION = compiled(
    select(
        _event.c.position,
        _event.c.occurred_at_us,
        _captures.c.status,
        _dead.c.position.is_not(None),
        or_(_event.c.position <= _watermark, _settled.c.position.is_not(None)),
        func.coalesce(_settled.c.delivered_at_us, _delivered_at),
    )
    .join(_captures, _captures.c.position == _event.c.position)
    .outerjoin(
        _settled,
        and_(_settled.c.destination == is_central, _settled.c.position == _event.c.position),
    )
    .outerjoin(
        _dead, and_(_dead.c.destination == is_central, _dead.c.position == _event.c.position)
    )
    .order_by(_event.c.position)
)
_newest = select(func.max(_event.c.position)).scalar_subquery()
_first_waiting = (
    select(func.min(_event.c.position)).where(_event.c.position > _watermark).scalar_subquery()
)
BACKLOG = compiled(
    select(
        _watermark,
        cursor_column("purged_through"),
        select(func.count())
        .select_from(_settled)
        .where(_settled.c.destination == is_central, _settled.c.position > _watermark)
        .scalar_subquery(),
        select(func.count())
        .select_from(_dead)
        .where(_dead.c.destination == is_central, _dead.c.discarded_at_us.is_(None))
        .scalar_subquery(),
        select(_event.c.occurred_at_us)
        .where(_event.c.position == _first_waiting)
        .scalar_subquery(),
        select(_event.c.occurred_at_us).where(_event.c.position == _newest).scalar_subquery(),
    )
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
class StoreStatus:
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

    def session(self, correlation_id: str) -> list[CaptureStatus]:
        """Return a session start and its answers, in order; empty if there is none."""
        with read_only(self._directory) as connection:
            epochs = read_epochs(connection)
            rows = connection.execute(
                CAPTURES_OF_SESSION.sql, (correlation_id,) * len(CAPTURES_OF_SESSION.names)
            ).fetchall()
        return [
            CaptureStatus(
                receipt=epochs.receipt(position),
                captured_at_us=captured_at_us,
                state=_state(is_refused=bool(refused), is_settled=bool(settled)),
                delivered_at_us=delivered_at_us if settled and not refused else None,
                status=status,
            )
            for position, captured_at_us, status, refused, settled, delivered_at_us in rows
        ]

    def status(self) -> StoreStatus:
        """Return backlog and sizes; the cost does not depend on the backlog."""
        with read_only(self._directory) as connection:
            epochs = read_epochs(connection)
            row = connection.execute(BACKLOG.sql).fetchone()
        watermark, purged_through, settled_ahead, dead_letters, oldest_us, newest_us = row
        return StoreStatus(
            epochs=[_standing(extent, watermark, purged_through) for extent in epochs.ranges],
            waiting=epochs.last_position - watermark - settled_ahead,
            oldest_waiting_at_us=oldest_us,
            last_activity_at_us=newest_us,
            dead_letters=dead_letters,
            database_bytes=database_bytes(self._directory),
            free_bytes=free_bytes(self._directory),
            quarantined=list_quarantined(self._directory),
        )


def _standing(extent: EpochRange, watermark: int, purged_through: int) -> EpochProgress:
    settled = min(max(0, watermark - extent.base_position), extent.last_sequence)
    base_sequence = extent.base_sequence(purged_through)
    return EpochProgress(extent.epoch, extent.last_sequence, settled, base_sequence)


def _state(*, is_refused: bool, is_settled: bool) -> DeliveryState:
    if is_refused:
        return DeliveryState.REFUSED
    return DeliveryState.DELIVERED if is_settled else DeliveryState.WAITING
