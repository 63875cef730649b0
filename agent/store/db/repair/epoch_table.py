"""Repairs the table of epochs: restores what other rows confirm, else begins a new epoch."""

import sqlite3
from collections.abc import Callable

from agent.facts import Receipt
from agent.store.db.epochs import ADD_EPOCH
from agent.store.db.event_rows import MAX_POSITION, is_id
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
Note = Callable[[str, str, str], None]


def repair_epochs(
    connection: sqlite3.Connection,
    evidence: Evidence,
    watermark: int,
    *,
    mark: Receipt | None,
    new_epoch: Callable[[], str],
    at_us: int,
    note: Note,
) -> bool:
    """Repair the epochs; return whether a new one began for the undelivered events.

    Those may arrive under two numbers; head office recognises them by correlation id.
    """
    rows = read_epoch_values(connection)
    bound = max(evidence.numbered, watermark)
    is_current_lost = not rows and bound > 0
    for index, row in enumerate(rows):
        if not _repair_row(connection, row, index, rows, bound, mark, note):
            connection.execute(REMOVE, (row.number,))
            note("epoch", str(row.number), "its id or its first number cannot be restored")
            is_current_lost |= index == len(rows) - 1
    connection.execute(BEGAN_UNKNOWN, (at_us,))
    connection.execute(MOVED_UNKNOWN, (MAX_POSITION,))

    def begin(epoch: str, base_position: int, moved_events: int = 0) -> None:
        values = (epoch, base_position, at_us, EPOCHS_DAMAGED, moved_events)
        connection.execute(ADD_EPOCH, values)

    moved = 0
    if is_current_lost and not _bases(connection) and mark is not None and is_id(mark.epoch):
        # Delivered events keep their receipts, as far as the mark names them.
        note("epoch", "all", "the table is empty")
        begin(mark.epoch, min(max(bound - mark.sequence, 0), watermark))
        moved = bound - watermark
    lowest = min(_bases(connection), default=None)
    is_held = evidence.lowest is not None and evidence.lowest <= (lowest or 0)
    if bound > 0 and (lowest is None or is_held):
        note("epoch", "first", "the lowest events have no epoch")
        begin(new_epoch(), 0)
        is_current_lost |= lowest is None
    if is_current_lost:
        begin(new_epoch(), max([watermark, *_bases(connection)]), moved)
    return is_current_lost


def _repair_row(
    connection: sqlite3.Connection,
    row: EpochValues,
    index: int,
    rows: list[EpochValues],
    bound: int,
    mark: Receipt | None,
    note: Note,
) -> bool:
    """Restore id and base of `row` if other rows tell them; return False if it is unusable."""
    has_id, has_base = is_id(row.epoch), is_base(row.base_position, bound)
    if not has_id and has_base and index == len(rows) - 1 and _is_free(mark, rows):
        assert mark is not None  # noqa: S101 - narrows the type
        connection.execute(SET_ID, (mark.epoch, row.number))
        note("epoch", str(row.number), "its id was restored from the high-water mark")
    elif has_id and not has_base and index == 0:
        connection.execute(SET_BASE, (row.number,))
        note("epoch", str(row.number), "its first number was restored: it is the first epoch")
    elif not (has_id and has_base):
        return False
    if not isinstance(row.reason, str):
        connection.execute(SET_REASON, (row.number,))
        note("epoch", str(row.number), "its reason cannot be read")
    if not 0 < row.number <= MAX_POSITION:
        connection.execute(FIX_NUMBER, (MAX_POSITION, row.number))
        note("epoch", str(row.number), "its number is out of range")
    return True


def _is_free(mark: Receipt | None, rows: list[EpochValues]) -> bool:
    return mark is not None and is_id(mark.epoch) and mark.epoch not in {row.epoch for row in rows}


def _bases(connection: sqlite3.Connection) -> list[int]:
    return [base for (base,) in connection.execute(BASES)]
