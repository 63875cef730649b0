"""Repairs the table of epochs: restores what other rows confirm, else begins a new epoch."""

from agent.store.db.epochs import ADD_EPOCH
from agent.store.db.event_rows import MAX_POSITION, is_id
from agent.store.db.repair.context import Repair
from agent.store.db.repair.evidence import EpochValues, Evidence, is_base, read_epoch_values

EPOCHS_DAMAGED = "the table of epochs was damaged"
FIX_NUMBER = """
UPDATE epoch SET number = (SELECT 1 + coalesce(max(number), 0) FROM epoch WHERE number <= ?)
WHERE number = ?
"""
SET_BASE = "UPDATE epoch SET base_position = 0 WHERE number = ?"
SET_ID = "UPDATE epoch SET epoch = ? WHERE number = ?"
SET_REASON = "UPDATE epoch SET reason = 'unknown' WHERE number = ?"
BEGAN_UNKNOWN = "UPDATE epoch SET began_at_us = ? WHERE typeof(began_at_us) <> 'integer'"
MOVED_UNKNOWN = """
UPDATE epoch SET moved_events = NULL
WHERE typeof(moved_events) NOT IN ('integer', 'null') OR moved_events NOT BETWEEN 0 AND ?
"""
BASES = "SELECT base_position FROM epoch"
REMOVE = "DELETE FROM epoch WHERE number = ?"


def repair_epochs(repair: Repair, evidence: Evidence, watermark: int) -> bool:
    """Repair the epochs; return whether a new one began for the undelivered events.

    Those may arrive under two numbers; head office recognises them by correlation id.
    """
    mark, moved = repair.mark, 0
    bound = max(evidence.numbered, watermark)
    is_current_lost = _repair_rows(repair, bound)
    if is_current_lost and not _bases(repair) and mark is not None and is_id(mark.epoch):
        # Delivered events keep their receipts, as far as the mark names them.
        repair.note("epoch", "all", "the table is empty")
        _begin(repair, mark.epoch, min(max(bound - mark.sequence, 0), watermark))
        moved = bound - watermark
    lowest = min(_bases(repair), default=None)
    is_held = evidence.lowest is not None and evidence.lowest <= (lowest or 0)
    if bound > 0 and (lowest is None or is_held):
        repair.note("epoch", "first", "the lowest events have no epoch")
        _begin(repair, repair.new_epoch(), 0)
        is_current_lost |= lowest is None
    if is_current_lost:
        _begin(repair, repair.new_epoch(), max([watermark, *_bases(repair)]), moved)
    return is_current_lost


def _repair_rows(repair: Repair, bound: int) -> bool:
    """Repair or remove each epoch; return whether the current one is lost."""
    rows = read_epoch_values(repair.connection)
    is_current_lost = not rows and bound > 0
    for row in rows:
        if not _repair_row(repair, row, rows, bound):
            repair.connection.execute(REMOVE, (row.number,))
            reason = "its id or its first number cannot be restored"
            repair.note("epoch", str(row.number), reason)
            is_current_lost |= row is rows[-1]
    repair.connection.execute(BEGAN_UNKNOWN, (repair.at_us,))
    repair.connection.execute(MOVED_UNKNOWN, (MAX_POSITION,))
    return is_current_lost


def _repair_row(repair: Repair, row: EpochValues, rows: list[EpochValues], bound: int) -> bool:
    """Restore id and base of `row` if other rows tell them; return False if it is unusable."""
    connection, mark, number = repair.connection, repair.mark, str(row.number)
    has_id, has_base = is_id(row.epoch), is_base(row.base_position, bound)
    is_mark_free = (
        mark is not None and is_id(mark.epoch) and all(one.epoch != mark.epoch for one in rows)
    )
    if mark is not None and is_mark_free and has_base and not has_id and row is rows[-1]:
        connection.execute(SET_ID, (mark.epoch, row.number))
        repair.note("epoch", number, "its id was restored from the high-water mark")
    elif has_id and not has_base and row is rows[0]:
        connection.execute(SET_BASE, (row.number,))
        repair.note("epoch", number, "its first number was restored: it is the first epoch")
    elif not (has_id and has_base):
        return False
    if not isinstance(row.reason, str):
        connection.execute(SET_REASON, (row.number,))
        repair.note("epoch", number, "its reason cannot be read")
    if not 0 < row.number <= MAX_POSITION:
        connection.execute(FIX_NUMBER, (MAX_POSITION, row.number))
        repair.note("epoch", number, "its number is out of range")
    return True


def _begin(repair: Repair, epoch: str, base_position: int, moved_events: int = 0) -> None:
    values = (epoch, base_position, repair.at_us, EPOCHS_DAMAGED, moved_events)
    repair.connection.execute(ADD_EPOCH, values)


def _bases(repair: Repair) -> list[int]:
    return [base for (base,) in repair.connection.execute(BASES)]
