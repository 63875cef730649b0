"""Epochs and sequence numbers: the number of an event at head office."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import bindparam, func, insert, select

from agent.facts import Receipt
from agent.store.db.sql import compiled, constant
from agent.store.db.tables import Destination, Epoch, Event, Settled, table_of
from agent.store.files.storage_errors import CorruptRow

_epoch = table_of(Epoch)
_event = table_of(Event)
_destination = table_of(Destination)
_settled = table_of(Settled)
Row = TypeVar("Row", bound=tuple[object, ...])

ADD_EPOCH = compiled(insert(_epoch))
ALL_EPOCHS = compiled(
    select(_epoch.c.number, _epoch.c.epoch, _epoch.c.base_position).order_by(
        _epoch.c.base_position, _epoch.c.number
    )
)
KNOWS_EPOCH = compiled(select(_epoch.c.number).where(_epoch.c.epoch == bindparam("epoch")))
# The numbers of purged events stay used: they are at or below the watermark, or in `settled`.
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
    """An epoch and the position after which its sequence begins at 1."""

    number: int
    epoch: str
    base_position: int


@dataclass(frozen=True, slots=True)
class EpochRange:
    """The positions of an epoch: above `base_position`, up to `last_position`."""

    epoch: str
    base_position: int
    last_position: int

    @property
    def last_sequence(self) -> int:
        """The last sequence number of the epoch; 0 if it is empty."""
        return self.last_position - self.base_position

    def base_sequence(self, purged_through: int) -> int:
        """Return the lowest number from which all events are held; last + 1 if none is."""
        gone = min(max(purged_through - self.base_position, 0), self.last_sequence)
        return gone + 1


class Epochs:
    """Allocates positions and maps them to receipts; holds all epochs of the file (a few).

    Epochs are ordered by base position; the last one is current. An epoch that began later to take
    over the end of an older one is ordered by its positions, too.
    """

    def __init__(self, epochs: list[EpochBase], last_position: int) -> None:
        self._epochs = epochs
        self.last_position = last_position

    @property
    def current(self) -> EpochBase | None:
        """The epoch of new captures; None in a new file."""
        return self._epochs[-1] if self._epochs else None

    @property
    def next_number(self) -> int:
        """The number of the next epoch to begin."""
        return 1 + max((epoch.number for epoch in self._epochs), default=0)

    @property
    def last(self) -> Receipt:
        """The current epoch and its last committed sequence number (0: none yet)."""
        epoch = self._epochs[-1]
        return Receipt(epoch.epoch, self.last_position - epoch.base_position)

    def receipt(self, position: int) -> Receipt:
        """Return epoch and sequence number of the event at `position`."""
        for epoch in reversed(self._epochs):
            if epoch.base_position < position:
                return Receipt(epoch.epoch, position - epoch.base_position)
        raise LookupError(f"no epoch holds position {position}")

    @property
    def extents(self) -> list[EpochRange]:
        """The extents of all epochs, the current one last."""
        ends = [later.base_position for later in self._epochs[1:]] + [self.last_position]
        return [
            EpochRange(known.epoch, known.base_position, end)
            for known, end in zip(self._epochs, ends, strict=True)
        ]

    def extent_of(self, epoch: str) -> int | None:
        """Return the last sequence number of `epoch`; None for an epoch unknown to this file."""
        extent = self.find(epoch)
        return None if extent is None else extent.last_sequence

    def find(self, epoch: str) -> EpochRange | None:
        """Return the extent of `epoch`; None for an epoch unknown to this file."""
        return next((extent for extent in self.extents if extent.epoch == epoch), None)

    def extent_at(self, position: int) -> EpochRange:
        """Return the extent of the epoch that holds `position`."""
        return next(extent for extent in reversed(self.extents) if extent.base_position < position)

    def position_of(self, epoch: str, sequence: int) -> int | None:
        """Return the position of a receipt; None if this file never issued it."""
        extent = self.find(epoch)
        if extent is None or not 1 <= sequence <= extent.last_sequence:
            return None
        return extent.base_position + sequence

    def advance_to(self, position: int) -> None:
        """Set the last committed position."""
        self.last_position = position

    def take_over(self, other: "Epochs") -> None:
        """Replace these epochs in place by `other`, after a new epoch is committed."""
        self._epochs = other._epochs  # noqa: SLF001 - same class
        self.last_position = other.last_position


def sensible(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows; none of their columns may be null. Raises `CorruptRow` if one is."""
    for row in rows:
        if None in row:
            raise CorruptRow("a column is null that never is")
        yield row


def knows_epoch(connection: sqlite3.Connection, epoch: str) -> bool:
    """Return whether `epoch` is an epoch of this file."""
    return connection.execute(KNOWS_EPOCH.sql, (epoch,)).fetchone() is not None


def read_epochs(connection: sqlite3.Connection) -> Epochs:
    """Read the epochs and the last position."""
    epochs = [EpochBase(*row) for row in sensible(connection.execute(ALL_EPOCHS.sql))]
    highest_base = max((epoch.base_position for epoch in epochs), default=0)
    ((last_position,),) = sensible(connection.execute(LAST_POSITION.sql))
    return Epochs(epochs, max(last_position, highest_base))


def begin_epoch(
    connection: sqlite3.Connection,
    epochs: Epochs,
    *,
    epoch: str,
    at_us: int,
    reason: str,
    base_position: int | None = None,
) -> Epochs:
    """Insert `epoch` after `base_position` (None: the last one), in the caller's transaction.

    Events above the base, up to the next epoch's base, now belong to it.
    """
    values = {
        "number": epochs.next_number,
        "epoch": epoch,
        "base_position": epochs.last_position if base_position is None else base_position,
        "began_at_us": at_us,
        "reason": reason,
    }
    connection.execute(ADD_EPOCH.sql, ADD_EPOCH.row(values))
    return read_epochs(connection)
