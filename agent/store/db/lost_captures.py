"""Captures that only the high-water mark knows: acknowledged to tills, in no database any more.

Recorded with the epoch that begins for it, as the mark is overwritten then. A file that is set
aside takes its records with it, and the ends of its older epochs: salvage adds them to the next
file. Head office may have some of the captures, so it is asked first (`accepted_through`), and told
afterwards that the rest is lost.
*Obvious:* tell at once. *Why not:* its answer would count lost numbers as well, and no one here
would ever know how many captures are lost.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from agent.store.db.rows import intact_rows
from agent.store.files.quarantine import list_unfinished

_ADD = """
INSERT INTO lost_captures (epoch, held_through, lost_through, reason, noticed_at_us)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (epoch) DO UPDATE SET lost_through = max(lost_through, excluded.lost_through),
    told_at_us = NULL
"""
# Only of this machine's own files: their last epoch is known from the mark. A file that is salvaged
# by hand may be that of another till.
_ADD_FOUND = """
INSERT OR IGNORE INTO lost_captures (epoch, held_through, lost_through, reason, noticed_at_us,
    accepted_through, told_at_us, returned, moved_through)
SELECT :epoch, :held_through, :lost_through, :reason, :noticed_at_us,
    :accepted_through, :told_at_us, :returned, :moved_through
WHERE NOT EXISTS (SELECT 1 FROM epoch WHERE epoch = :epoch)
    AND EXISTS (SELECT 1 FROM lost_captures WHERE epoch = :last_epoch)
"""
_ALL = """
SELECT epoch, held_through, lost_through, reason, noticed_at_us, accepted_through, told_at_us,
    returned, moved_through
FROM lost_captures ORDER BY noticed_at_us, epoch
"""
# Not if more was lost meanwhile: head office has not answered that.
_SET_ANSWER = """
UPDATE lost_captures SET accepted_through = ?, told_at_us = ? WHERE epoch = ? AND lost_through = ?
"""
_SALVAGED = "SELECT source FROM salvage WHERE is_read = 1"
# The numbers of salvaged captures are the receipts that tills were given for them, or those of an
# earlier salvage.
_RETURNED = """
SELECT sequence FROM receipt_alias
WHERE epoch = :epoch AND sequence BETWEEN :first AND :lost_through
UNION SELECT sequence FROM salvaged_number
WHERE epoch = :epoch AND sequence BETWEEN :first AND :lost_through
ORDER BY sequence
"""
_SET_RETURNED = "UPDATE lost_captures SET returned = ?, moved_through = ? WHERE epoch = ?"
_KEEP_RETURNED = """
UPDATE lost_captures SET returned = max(returned, ?), moved_through = max(moved_through, ?)
WHERE epoch = ?
"""


class LostRow(NamedTuple):
    """A row, in the order of its columns."""

    epoch: str
    held_through: int
    lost_through: int
    reason: str
    noticed_at_us: int
    accepted_through: int | None
    told_at_us: int | None
    returned: int
    moved_through: int


@dataclass(frozen=True, slots=True)
class LostCaptures:
    """Numbers of `epoch` above `held_through`, up to `lost_through`, that this machine has not.

    `accepted_through`: how far head office has the epoch; None if it has not answered yet.
    `told_at_us`: when it confirmed that it knows of the loss. `may_return`: files that were set
    aside are not salvaged yet, and may hold some.
    """

    epoch: str
    held_through: int
    lost_through: int
    reason: str
    noticed_at_us: int
    accepted_through: int | None = None
    told_at_us: int | None = None
    returned: int = 0
    moved_through: int = 0
    may_return: bool = False

    @property
    def first(self) -> int:
        """The first lost number, as far as head office has answered."""
        return max(self.held_through, self.accepted_through or 0) + 1

    @property
    def count(self) -> int:
        """How many captures are lost, or may be; 0 if all are at head office or salvaged."""
        return max(self.lost_through - self.first + 1 - self.returned, 0)

    @property
    def is_open(self) -> bool:
        """Return whether head office, or a file set aside, may still have some of them."""
        return self.accepted_through is None or self.may_return


def add_lost_captures(connection: sqlite3.Connection, lost: LostCaptures) -> None:
    """Record lost captures, in the transaction that begins the next epoch."""
    values = (lost.epoch, lost.held_through, lost.lost_through, lost.reason, lost.noticed_at_us)
    connection.execute(_ADD, values)


def add_found(
    connection: sqlite3.Connection, found: Sequence[LostCaptures], last_epoch: str
) -> None:
    """Record the lost captures and ended epochs that a quarantined database knew."""
    for lost in found:
        connection.execute(_ADD_FOUND, asdict(lost) | {"last_epoch": last_epoch})


def read_lost_captures(connection: sqlite3.Connection, directory: Path) -> list[LostCaptures]:
    """Return the captures of older epochs that this machine had and has not any more.

    The one place that says so; also those that head office has. Raises `OSError`.
    """
    read = {source for (source,) in connection.execute(_SALVAGED)}
    may_return = not read.issuperset(list_unfinished(directory))
    rows = intact_rows(connection.execute(_ALL), LostRow)
    return [replace(_lost(row), may_return=may_return) for row in rows]


def after_answer(
    lost: LostCaptures, accepted_through: int, told_through: int, now_us: int
) -> LostCaptures:
    """Return `lost` after an answer of head office to a heartbeat.

    `told_through` is the loss that the heartbeat named; 0 if it named none. Once it named one, a
    number that head office has accepted may be a lost one.
    """
    if not told_through and lost.told_at_us is None:
        return replace(lost, accepted_through=accepted_through)
    if lost.told_at_us is None and accepted_through >= told_through:
        return replace(lost, told_at_us=now_us)
    return lost


def record_answers(connection: sqlite3.Connection, changed: Sequence[LostCaptures]) -> None:
    """Store the answers of head office."""
    before = {lost.epoch: lost.first for lost in _read(connection)}
    rows = [(one.accepted_through, one.told_at_us, one.epoch, one.lost_through) for one in changed]
    connection.executemany(_SET_ANSWER, rows)
    # What head office has by itself has not returned.
    _count(connection, [lost for lost in _read(connection) if lost.first != before[lost.epoch]])


def count_returned(connection: sqlite3.Connection) -> None:
    """Count the lost captures that were salvaged, after a file is read to its end.

    The count never falls: the receipts of salvaged captures are purged with them.
    """
    before = _read(connection)
    _count(connection, before)
    rows = [(lost.returned, lost.moved_through, lost.epoch) for lost in before]
    connection.executemany(_KEEP_RETURNED, rows)


def _count(connection: sqlite3.Connection, captures: Sequence[LostCaptures]) -> None:
    for lost in captures:
        values = {"epoch": lost.epoch, "first": lost.first, "lost_through": lost.lost_through}
        returned = [sequence for (sequence,) in connection.execute(_RETURNED, values)]
        moved_through = lost.first - 1
        for sequence in returned:
            moved_through += sequence == moved_through + 1
        moved_through = moved_through if returned else 0
        connection.execute(_SET_RETURNED, (len(returned), moved_through, lost.epoch))


def _read(connection: sqlite3.Connection) -> list[LostCaptures]:
    return [_lost(row) for row in intact_rows(connection.execute(_ALL), LostRow)]


def _lost(row: LostRow) -> LostCaptures:
    return LostCaptures(*row)
