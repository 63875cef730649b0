"""Makes settled events pending again, for example after head office was restored from a backup."""

import sqlite3

from sqlmodel import Session, col, delete, func, select

from agent.facts import Receipt
from agent.store.db.cursor import CENTRAL, ensure_cursor
from agent.store.db.epochs import (
    SHARED_NAME,
    Epochs,
    begin_epoch,
    read_epochs,
)
from agent.store.db.rows import driver_connection
from agent.store.db.tables import DeliveryRow, DestinationRow, EpochRow, SettledRow
from agent.store.store import Store
from sync.delivery.outcomes import Refused
from sync.protocol.wire import AHEAD, RENUMBERED

MAX_EPOCHS_A_DAY = 10
SENT_AGAIN = Refused(
    "SENT_AGAIN",
    "head office lost it; it is sent again, apart from the purged ones around it",
    None,
)
# A dead letter is one still; a discarded one stays so.
RETRY_LEFT = """
INSERT INTO dead_letter (destination, position, error_code, error_message, refused_at_us,
    agent_version, attempts, retry_wanted)
SELECT 'central', event.position, ?, ?, ?, ?, 0, 1
FROM event WHERE event.position > ? AND event.position <= ?
ON CONFLICT (destination, position) DO UPDATE SET retry_wanted = 1
    WHERE discarded_at_us IS NULL AND retry_wanted = 0
"""
_DAY_US = 24 * 3600 * 1_000_000
_CAUSED = (RENUMBERED, AHEAD, SHARED_NAME)


def rewind(
    session: Session, epoch: str, expected_sequence: int, now_us: int, agent_version: str
) -> bool:
    """Make all held events from `expected_sequence` of `epoch` on pending again.

    Returns whether any event became pending; False for an epoch unknown here or fully purged, or a
    number not issued yet.
    """
    connection = driver_connection(session)
    known = read_epochs(connection).range_of(epoch)
    if known is None or expected_sequence > known.last_sequence:
        return False
    position = known.base_position + max(expected_sequence, 1) - 1
    purged_through = ensure_cursor(connection).purged_through
    through = min(purged_through, known.last_position)
    are_left = _retry_left(connection, position, through, now_us, agent_version)
    if known.last_position <= purged_through:
        # Later epochs would be sent again in vain, at every heartbeat.
        return are_left
    return _rewind_to(session, position) or are_left


def _retry_left(
    connection: sqlite3.Connection, above: int, through: int, now_us: int, agent_version: str
) -> bool:
    """Retry the events that are left among the purged ones; return whether there are any.

    A session stays with its answers, for example. *Obvious:* lower the watermark below them. *Why
    not:* it advances from number to number, and those of purged events never settle.
    """
    left = (SENT_AGAIN.error_code, SENT_AGAIN.error_message, now_us, agent_version, above, through)
    return connection.execute(RETRY_LEFT, left).rowcount > 0


def renumber(store: Store, receipt: Receipt, reason: str, now_us: int) -> bool:
    """Begin a new epoch with the events that follow `receipt` in its epoch; they become pending.

    If no event follows, only the current epoch ends: new captures go to the next one. Returns False
    if head office has caused `MAX_EPOCHS_A_DAY` already: each costs both ends a row for ever, and a
    false or broken head office would cause one at every answer.
    """
    known = store.epochs.range_of(receipt.epoch)
    if known is None:
        return True
    sequence = min(receipt.sequence, known.last_sequence)
    is_current = receipt.epoch == store.epochs.last.epoch
    if not is_current and sequence == known.last_sequence:
        return True
    if store.run_in_session(_count_caused, now_us) >= MAX_EPOCHS_A_DAY:
        return False
    if is_current:
        store.lower_mark(Receipt(receipt.epoch, sequence))
    base_position, epoch = known.base_position + sequence, store.environment.new_epoch()
    moved_events = max(known.last_sequence, known.moved_through) - sequence
    move = (base_position, epoch, reason, now_us, moved_events)
    store.adopt_epochs(store.run_in_session(_move_events, *move))
    return True


def begin_own_epoch(store: Store, now_us: int) -> str:
    """Begin a new epoch for new captures, and return it; events keep their numbers.

    For a machine that another one uses the name and the numbers of. Returns the current epoch if
    head office has caused `MAX_EPOCHS_A_DAY` already.
    """
    if store.run_in_session(_count_caused, now_us) < MAX_EPOCHS_A_DAY:
        epoch, base_position = store.environment.new_epoch(), store.epochs.last_position
        store.adopt_epochs(store.run(_begin_empty, epoch, base_position, now_us))
    return store.epochs.last.epoch


def _begin_empty(
    connection: sqlite3.Connection, epoch: str, base_position: int, now_us: int
) -> Epochs:
    return begin_epoch(
        connection, epoch, base_position=base_position, at_us=now_us, reason=SHARED_NAME
    )


def _count_caused(session: Session, now_us: int) -> int:
    """Return the number of epochs within a day of now that head office has caused."""
    day = (now_us - _DAY_US, now_us + _DAY_US)  # on both sides: the clock may have been ahead
    caused = (
        select(func.count())
        .select_from(EpochRow)
        .where(col(EpochRow.reason).in_(_CAUSED), col(EpochRow.began_at_us).between(*day))
    )
    return session.exec(caused).one()


def _move_events(
    session: Session, base_position: int, epoch: str, reason: str, now_us: int, moved_events: int
) -> Epochs:
    _rewind_to(session, base_position)
    return begin_epoch(
        driver_connection(session),
        epoch,
        base_position=base_position,
        at_us=now_us,
        reason=reason,
        moved_events=moved_events,
    )


def _rewind_to(session: Session, position: int) -> bool:
    """Make all held events above `position` pending again; return whether any was settled."""
    cursor = ensure_cursor(driver_connection(session))
    target = max(position, cursor.purged_through)
    unsettled = session.exec(
        delete(SettledRow).where(
            col(SettledRow.destination) == CENTRAL, col(SettledRow.position) > target
        )
    ).rowcount
    row = session.get_one(DestinationRow, CENTRAL)
    if target < cursor.watermark:
        _cut_deliveries(session, target)
        row.watermark = target
    # Individually settled events that still have their address are erased with the others.
    row.erased_through = min(cursor.erased_through, target)
    row.digests_erased_through = min(cursor.digests_erased_through, target)
    return target < cursor.watermark or unsettled > 0


def _cut_deliveries(session: Session, target: int) -> None:
    """Shorten the acknowledgement that covers `target`, and delete the later ones."""
    above = (col(DeliveryRow.destination) == CENTRAL, col(DeliveryRow.through_position) > target)
    first_above = session.exec(
        select(DeliveryRow.delivered_at_us)
        .where(*above)
        .order_by(col(DeliveryRow.through_position))
        .limit(1)
    ).first()
    if first_above is not None and session.get(DeliveryRow, (CENTRAL, target)) is None:
        session.add(
            DeliveryRow(destination=CENTRAL, through_position=target, delivered_at_us=first_above)
        )
    session.exec(delete(DeliveryRow).where(*above))
