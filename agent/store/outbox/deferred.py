"""Deferred events: they have a row beside the dead letters, and are tried again by themselves."""

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, select, text, update

from agent.store.db.cursor import CENTRAL
from agent.store.db.epochs import read_epochs
from agent.store.db.rows import driver_connection
from agent.store.db.tables import IS_OPEN, STUCK_ATTEMPTS, DeadLetterRow
from agent.store.outbox.settle import release_waiting

_position = col(DeadLetterRow.position)
IS_DEFERRED = col(DeadLetterRow.stuck_since_us).is_not(None)
IS_STUCK = and_(IS_DEFERRED, col(DeadLetterRow.attempts) >= STUCK_ATTEMPTS)
_is_open = and_(col(DeadLetterRow.destination) == CENTRAL, text(IS_OPEN), IS_DEFERRED)


def retry_deferred(session: Session, most: int) -> None:
    """Try the deferred events again in the next pass."""
    is_later = and_(_is_open, col(DeadLetterRow.next_try_at_us) > 0)
    later = select(DeadLetterRow.position).where(is_later, DeadLetterRow.retry_wanted == 1)
    _change(session, list(session.exec(later.limit(most))), next_try_at_us=0)


def set_aside(session: Session, epoch: str, sequence: int, now_us: int) -> bool:
    """Make a deferred event a dead letter; return False if there is no such one."""
    at = read_epochs(driver_connection(session)).position_of(epoch, sequence)
    return bool(_end_deferral(session, _position == at, now_us, 1))


def set_aside_stuck(session: Session, for_us: int, now_us: int, most: int) -> int:
    """Make events that have been stuck for `for_us` dead letters; return how many.

    Up to their last try, not up to now: a clock that is set makes no time pass.
    """
    stuck_us = col(DeadLetterRow.refused_at_us) - col(DeadLetterRow.stuck_since_us)
    is_overdue = stuck_us >= for_us
    return _end_deferral(session, and_(IS_STUCK, is_overdue), now_us, most)


def _end_deferral(session: Session, condition: ColumnElement[bool], now_us: int, most: int) -> int:
    """Make deferred events dead letters, and release those that wait behind them."""
    query = select(DeadLetterRow.position).where(_is_open, condition).limit(most)
    positions = list(session.exec(query))
    _change(
        session,
        positions,
        retry_wanted=0,
        stuck_since_us=None,
        next_try_at_us=0,
        refused_at_us=now_us,
    )
    release_waiting(driver_connection(session), positions)
    return len(positions)


def _change(session: Session, positions: list[int], **values: int | None) -> None:
    session.exec(
        update(DeadLetterRow)
        .where(col(DeadLetterRow.destination) == CENTRAL, _position.in_(positions))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
