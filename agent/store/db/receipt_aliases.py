"""First receipts of salvaged captures: a till is answered with the receipt that it was given."""

import sqlite3

from agent.facts import Receipt
from agent.store.db.epochs import Epochs
from agent.store.db.rows import checked

_RANGE = "SELECT min(position), max(position) FROM receipt_alias"
_FIND = "SELECT epoch, sequence FROM receipt_alias WHERE position = ?"
_ADD = "INSERT OR IGNORE INTO receipt_alias (position, epoch, sequence) VALUES (?, ?, ?)"


class ReceiptAliases:
    """The first receipts on one connection; no statement is run where there cannot be one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.refresh()

    def refresh(self) -> None:
        """Read again where aliases are, after some were added or removed."""
        row = self._connection.execute(_RANGE).fetchone()
        lowest, highest = checked(row, tuple[int | None, int | None])
        self._range = range(0) if lowest is None or highest is None else range(lowest, highest + 1)

    def find(self, position: int) -> Receipt | None:
        """Return the first receipt of a salvaged capture; None for others."""
        if position not in self._range:
            return None
        row = self._connection.execute(_FIND, (position,)).fetchone()
        return None if row is None else Receipt(*checked(row, tuple[str, int]))

    def receipt(self, position: int, epochs: Epochs) -> Receipt:
        """Return the first receipt of the capture at `position`. Raises `CorruptRow`."""
        return self.find(position) or epochs.receipt(position)

    def add(self, position: int, receipt: Receipt) -> None:
        """Record the first receipt of a capture; one recorded before stays."""
        self._connection.execute(_ADD, (position, receipt.epoch, receipt.sequence))
        lowest, end = (self._range.start, self._range.stop) if self._range else (position, 0)
        self._range = range(min(lowest, position), max(end, position + 1))
