"""Epochs and sequences: the name under which head office knows an event."""

import sqlite3
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from agent.store.facts import Receipt
from agent.store.statements import compiled, constant
from agent.store.tables import Epoch, Event, table_of

_epoch = table_of(Epoch)
_event = table_of(Event)

ADD_EPOCH = compiled(insert(_epoch))
ALL_EPOCHS = compiled(
    select(_epoch.c.number, _epoch.c.epoch, _epoch.c.base_position).order_by(_epoch.c.number)
)
LAST_POSITION = compiled(select(func.coalesce(func.max(_event.c.position), constant(0))))


@dataclass(frozen=True, slots=True)
class EpochBase:
    """An epoch, and the position after which its sequence begins at 1."""

    number: int
    epoch: str
    base_position: int


class Numbering:
    """Gives out positions and translates them; holds every epoch of the file (a few)."""

    def __init__(self, epochs: list[EpochBase], last_position: int) -> None:
        self._epochs = epochs
        self.last_position = last_position

    @property
    def current(self) -> EpochBase | None:
        """The epoch that new captures belong to; None in a fresh file."""
        return self._epochs[-1] if self._epochs else None

    @property
    def last(self) -> Receipt:
        """The current epoch and the last sequence committed in it (0: none yet)."""
        epoch = self._epochs[-1]
        return Receipt(epoch.epoch, self.last_position - epoch.base_position)

    def receipt(self, position: int) -> Receipt:
        """Return the epoch and sequence of the event at `position`."""
        for epoch in reversed(self._epochs):
            if epoch.base_position < position:
                return Receipt(epoch.epoch, position - epoch.base_position)
        raise LookupError(f"no epoch holds position {position}")

    def extent_of(self, epoch: str) -> int | None:
        """Return the last sequence of `epoch` in this file; None if the file does not know it."""
        ends = [later.base_position for later in self._epochs[1:]] + [self.last_position]
        for known, end in zip(self._epochs, ends, strict=True):
            if known.epoch == epoch:
                return end - known.base_position
        return None

    def advance_to(self, position: int) -> None:
        """Note that everything up to `position` is committed."""
        self.last_position = position


def read_numbering(connection: sqlite3.Connection) -> Numbering:
    """Read the epochs and the last position from the file."""
    epochs = [EpochBase(*row) for row in connection.execute(ALL_EPOCHS.sql)]
    highest_base = max((epoch.base_position for epoch in epochs), default=0)
    (last_position,) = connection.execute(LAST_POSITION.sql).fetchone()
    # Purged events leave their numbers used: the base of the epoch remembers.
    return Numbering(epochs, max(last_position, highest_base))


def begin_epoch(
    connection: sqlite3.Connection, numbering: Numbering, *, epoch: str, at_us: int, reason: str
) -> Numbering:
    """Begin `epoch` after the last position, in a transaction of its own."""
    number = 1 + (numbering.current.number if numbering.current else 0)
    values = {
        "number": number,
        "epoch": epoch,
        "base_position": numbering.last_position,
        "began_at_us": at_us,
        "reason": reason,
    }
    connection.execute(ADD_EPOCH.sql, ADD_EPOCH.row(values))
    return read_numbering(connection)
