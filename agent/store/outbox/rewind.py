"""Makes settled events pending again, for example after head office was restored from a backup."""

from sqlmodel import Session, col, delete, select

from agent.facts import Receipt
from agent.store.db.cursor import CENTRAL, ensure_cursor
from agent.store.db.epochs import Epochs, begin_epoch, read_epochs
from agent.store.db.rows import driver_connection
from agent.store.db.tables import DeliveryRow, DestinationRow, SettledRow
from agent.store.store import Store, StoreEnvironment


def rewind(session: Session, epoch: str, expected_sequence: int) -> bool:
    """Make all held events from `expected_sequence` of `epoch` on pending again.

    Returns True if any event became pending; False for an epoch unknown here or fully purged, or a
    number not issued yet.
    """
    connection = driver_connection(session)
    known = read_epochs(connection).range_of(epoch)
    if known is None or expected_sequence > known.last_sequence:
        return False
    if known.last_position <= ensure_cursor(connection).purged_through:
        # Later epochs would be sent again in vain, at every heartbeat.
        return False
    return _rewind_to(session, known.base_position + max(expected_sequence, 1) - 1)


def renumber(store: Store, receipt: Receipt) -> None:
    """Begin a new epoch with the events that follow `receipt` in its epoch; they become pending.

    If no event follows, only the current epoch ends: new captures go to the next one.
    """
    known = store.epochs.range_of(receipt.epoch)
    if known is None:
        return
    sequence = min(receipt.sequence, known.last_sequence)
    if receipt.epoch == store.epochs.last.epoch:
        store.lower_mark(Receipt(receipt.epoch, sequence))
    elif sequence == known.last_sequence:
        return
    base_position = known.base_position + sequence
    epochs = store.run_in_session(_move_events, base_position, store.environment)
    store.adopt_epochs(epochs)


def _move_events(session: Session, base_position: int, environment: StoreEnvironment) -> Epochs:
    _rewind_to(session, base_position)
    return begin_epoch(
        driver_connection(session),
        environment.new_epoch(),
        base_position=base_position,
        at_us=environment.now_us(),
        reason="head office has other events under these numbers",
    )


def _rewind_to(session: Session, position: int) -> bool:
    """Make all held events above `position` pending again; return True if any was settled."""
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
