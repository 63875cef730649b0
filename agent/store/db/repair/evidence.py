"""Reads the positions in use from several sources: rows, epochs, the high-water mark.

A single damaged number could do harm that cannot be undone: addresses erased, events purged,
numbers used twice. So a number counts only as far as other sources confirm it.
"""

import sqlite3
from typing import NamedTuple

from agent.facts import Receipt
from agent.store.db.event_rows import MAX_POSITION, is_id, is_position

# Without a mark, a gap of more positions is no loss of a power cut: the row above it is damaged.
_MOST_MISSING = 1_000
# Where rows with an impossible position are moved: above every position, out of every range.
ASIDE = 2 * MAX_POSITION
EPOCHS = "SELECT number, epoch, base_position, reason FROM epoch ORDER BY number"
# A capture has one position in all tables, so each table confirms the highest one of the others.
HIGHEST = f"""
SELECT max(position) FROM (
    SELECT max(position) AS position FROM event WHERE position <= :through
    UNION ALL SELECT max(position) FROM session WHERE position <= :through
    UNION ALL SELECT max(position) FROM email_answer WHERE position <= :through
    UNION ALL SELECT max(position) FROM settled
        WHERE destination = 'central' AND position <= :through
) WHERE position <= {MAX_POSITION}
"""  # noqa: S608 - contains no value
LOWEST_EVENT = "SELECT min(position) FROM event WHERE position > 0"
LAST_DELIVERY = f"""
SELECT max(through_position) FROM delivery
WHERE destination = 'central' AND through_position <= {MAX_POSITION}
"""  # noqa: S608 - contains no value
NEXT_EVENT = "SELECT min(position) FROM event WHERE position > ?"
WATERMARK = "SELECT watermark FROM destination WHERE name = 'central'"


class EpochValues(NamedTuple):
    """A row of `epoch` as found: any value may be damaged."""

    number: int
    epoch: object
    base_position: object
    reason: object


class Evidence(NamedTuple):
    """Positions that several values of the file confirm.

    `last`: the highest with a row. `marked`: that of the high-water mark; 0 if it is unknown.
    `lowest`: the lowest event; None if there is none. `delivered`: the last acknowledgement that is
    kept (it is purged with its events); None if there is none. `undelivered`: the lowest event
    above it; None if there is none.
    """

    last: int
    marked: int
    lowest: int | None
    delivered: int | None
    undelivered: int | None

    @property
    def numbered(self) -> int:
        """The highest position that was ever numbered."""
        return max(self.last, self.marked)


def read_evidence(connection: sqlite3.Connection, mark: Receipt | None) -> Evidence:
    """Read the positions that the file and the high-water mark name, without isolated ones."""
    top = highest(connection, MAX_POSITION)
    marked = _marked_position(connection, mark, top)
    last = top
    while last > marked and not _follows_another(connection, last, is_marked=marked > 0):
        last = highest(connection, last - 1)
    lowest = _position(connection.execute(LOWEST_EVENT).fetchone()[0])
    delivered = _position(connection.execute(LAST_DELIVERY).fetchone()[0])
    undelivered = _position(connection.execute(NEXT_EVENT, (delivered or 0,)).fetchone()[0])
    return Evidence(last, marked, lowest, delivered, undelivered)


def highest(connection: sqlite3.Connection, through: int) -> int:
    """Return the highest position up to `through` that has a row; 0 if there is none."""
    found = connection.execute(HIGHEST, {"through": through}).fetchone()[0]
    return _position(found) or 0


def is_base(value: object, bound: int) -> bool:
    """Return whether `value` can be the base position of an epoch, up to `bound`."""
    return type(value) is int and 0 <= value <= bound


def read_epoch_values(connection: sqlite3.Connection) -> list[EpochValues]:
    """Return the rows of all epochs in the order in which they began, unchecked."""
    return [EpochValues(*row) for row in connection.execute(EPOCHS)]


def has_damaged_epochs(connection: sqlite3.Connection) -> bool:
    """Return whether an epoch begins above the last position, or positions are in use without any.

    A file that lost its last commits lost the end of both.
    """
    last = max(read_evidence(connection, None).last, _watermark(connection))
    bases = [row.base_position for row in read_epoch_values(connection)]
    return not all(is_base(base, last) for base in bases) or (last > 0 and not bases)


def _follows_another(connection: sqlite3.Connection, position: int, *, is_marked: bool) -> bool:
    """Return whether another row is close below `position`: positions have no gaps.

    Below the watermark, events are purged. Without a mark a small gap may be one damaged row.
    """
    if _watermark(connection) >= position:
        return True
    before = highest(connection, position - 1)
    return position - before <= (1 if is_marked else _MOST_MISSING)


def _marked_position(connection: sqlite3.Connection, mark: Receipt | None, top: int) -> int:
    """Return the position of the mark; 0 if the file does not know its epoch."""
    if mark is None:
        return 0
    known = max(top, _watermark(connection))
    for row in read_epoch_values(connection):
        base = row.base_position
        if row.epoch == mark.epoch and is_id(row.epoch) and is_base(base, known):
            assert isinstance(base, int)  # noqa: S101 - narrows the type
            return min(base + mark.sequence, MAX_POSITION)
    return 0


def _watermark(connection: sqlite3.Connection) -> int:
    row = connection.execute(WATERMARK).fetchone()
    return 0 if row is None else _position(row[0]) or 0


def _position(value: object) -> int | None:
    return value if isinstance(value, int) and is_position(value) else None
