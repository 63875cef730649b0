"""Epochs and sequences: the name under which head office knows an event."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import func, insert, select

from agent.store.facts import Receipt
from agent.store.statements import compiled, constant
from agent.store.tables import Destination, Epoch, Event, Settled, table_of
from agent.store.troubles import SenselessRow

_epoch = table_of(Epoch)
_event = table_of(Event)
_destination = table_of(Destination)
_settled = table_of(Settled)
Row = TypeVar("Row", bound=tuple[object, ...])

ADD_EPOCH = compiled(insert(_epoch))
ALL_EPOCHS = compiled(
    select(_epoch.c.number, _epoch.c.epoch, _epoch.c.base_position).order_by(_epoch.c.number)
)
# Purged events leave their numbers used: they were settled, and what is settled is remembered.
LAST_POSITION = compiled(
    select(
        func.max(
            *(
                func.coalesce(select(func.max(column)).scalar_subquery(), constant(0))
                for column in (_event.c.position, _destination.c.watermark, _settled.c.position)
            )
        )
    )
)


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

    def sequence_in_current(self, position: int) -> int:
        """Return the sequence at `position` in the current epoch; 0 where it lies before that."""
        return max(0, position - self._epochs[-1].base_position)

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


def sensible(rows: Iterable[Row]) -> Iterator[Row]:
    """Pass on rows none of whose columns can be null. Raises `SenselessRow` where one is."""
    for row in rows:
        if None in row:
            raise SenselessRow("a column is null that never is")
        yield row


def read_numbering(connection: sqlite3.Connection) -> Numbering:
    """Read the epochs and the last position from the file."""
    epochs = [EpochBase(*row) for row in sensible(connection.execute(ALL_EPOCHS.sql))]
    highest_base = max((epoch.base_position for epoch in epochs), default=0)
    ((last_position,),) = sensible(connection.execute(LAST_POSITION.sql))
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
