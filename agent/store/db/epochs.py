"""Epochs and sequence numbers: the number of an event at head office."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from agent.facts import Receipt
from agent.store.db.event_rows import MAX_POSITION, is_id
from agent.store.db.lost_captures import LostCaptures, add_lost_captures
from agent.store.db.rows import checked, checked_rows
from agent.store.files.storage_errors import CorruptRow
from sync.protocol.wire import RENUMBERED

NEW_FILE = "new file"
STEPPED_BACK = (
    "the database is older than it was: its newest captures are gone, after a power cut or because"
    " a copy was put back"
)
MARK_MISSING = "the high-water mark is missing: nothing shows that the file is the newest"
SHARED_NAME = "head office has heard two machines under this name"
ALL_EPOCHS = """
SELECT epoch, base_position, reason, moved_events FROM epoch ORDER BY base_position, number
"""
# Before a file of an earlier version is migrated.
ALL_EPOCHS_OF_ANY_VERSION = """
SELECT epoch, base_position, reason, 0 FROM epoch ORDER BY base_position, number
"""
# The numbers of purged events stay used: they are at or below the watermark, or in `settled`.
# A session or answer without its event counts, too. A position beyond every receipt is damage.
LAST_POSITION = f"""
SELECT max(
    coalesce((SELECT max(position) FROM event WHERE position <= {MAX_POSITION}), 0),
    coalesce((SELECT max(position) FROM session WHERE position <= {MAX_POSITION}), 0),
    coalesce((SELECT max(position) FROM email_answer WHERE position <= {MAX_POSITION}), 0),
    coalesce((SELECT max(position) FROM settled
        WHERE destination = 'central' AND position <= {MAX_POSITION}), 0),
    coalesce((SELECT max(watermark) FROM destination
        WHERE watermark <= {MAX_POSITION} AND typeof(watermark) = 'integer'), 0)
)
"""  # noqa: S608 - contains no value
ADD_EPOCH = """
INSERT INTO epoch (number, epoch, base_position, began_at_us, reason, moved_events)
SELECT 1 + coalesce(max(number), 0), ?, ?, ?, ?, ? FROM epoch
"""


class EpochStart(NamedTuple):
    """An epoch, the position after which its sequence begins at 1, and why it began.

    `moved_events`: this many numbers above the end of the epoch before were given new numbers here
    or in a later epoch. None in rows of earlier versions.
    """

    epoch: str
    base_position: int
    reason: str = ""
    moved_events: int | None = 0


@dataclass(frozen=True, slots=True)
class EpochCause:
    """Why a new epoch begins; `lost`: the last number of an epoch that the file does not hold.

    0 if it had none: head office may have heard of it, and is told that it has ended.
    """

    reason: str
    lost: Receipt | None = None
    held_through: int = 0


@dataclass(frozen=True, slots=True)
class EpochRange:
    """The positions of an epoch: above `base_position`, up to `last_position`.

    `ended_reason`: why it ended; empty for the current epoch, if it is not known how many events
    were moved, and if another machine may go on in it. `moved_events`: see `EpochStart`.
    """

    epoch: str
    base_position: int
    last_position: int
    ended_reason: str = ""
    moved_events: int = 0

    @property
    def last_sequence(self) -> int:
        """The last sequence number of the epoch; 0 if it is empty."""
        return self.last_position - self.base_position

    @property
    def moved_through(self) -> int:
        """The last number above the end of the epoch that is another one now; 0 if none is."""
        return self.last_sequence + self.moved_events if self.moved_events else 0

    def base_sequence(self, purged_through: int) -> int:
        """Return the lowest number from which all events are held; last + 1 if none is."""
        purged = min(max(purged_through - self.base_position, 0), self.last_sequence)
        return purged + 1


class Epochs:
    """All epochs of the file (a few) and the last position; maps positions to receipts.

    Epochs are ordered by base position; the last one is current. An epoch that began later to take
    over the end of an older one is ordered by its positions, too.
    """

    def __init__(self, starts: list[EpochStart], last_position: int) -> None:
        self._starts = starts
        self.last_position = last_position

    @property
    def last(self) -> Receipt:
        """The current epoch and its last committed number (0: none yet). Raises `CorruptRow`."""
        if not self._starts:
            raise CorruptRow("the database has no epoch")
        current = self._starts[-1]
        return Receipt(current.epoch, self.last_position - current.base_position)

    @property
    def ranges(self) -> list[EpochRange]:
        """The positions of all epochs, the current one last."""
        ended = [
            _ended(start, later)
            for start, later in zip(self._starts, self._starts[1:], strict=False)
        ]
        current = [
            EpochRange(one.epoch, one.base_position, self.last_position)
            for one in self._starts[-1:]
        ]
        return [*ended, *current]

    def receipt(self, position: int) -> Receipt:
        """Return epoch and sequence number of the event at `position`. Raises `CorruptRow`."""
        for start in reversed(self._starts):
            if start.base_position < position:
                return Receipt(start.epoch, position - start.base_position)
        raise CorruptRow(f"no epoch holds position {position}")

    def range_of(self, epoch: str) -> EpochRange | None:
        """Return the positions of `epoch`; None for an epoch unknown to this file."""
        return next((known for known in self.ranges if known.epoch == epoch), None)

    def range_at(self, position: int) -> EpochRange:
        """Return the positions of the epoch that holds `position`. Raises `CorruptRow`."""
        for known in reversed(self.ranges):
            if known.base_position < position:
                return known
        raise CorruptRow(f"no epoch holds position {position}")

    def position_of(self, epoch: str, sequence: int) -> int | None:
        """Return the position of a receipt; None if this file never issued it."""
        known = self.range_of(epoch)
        if known is None or not 1 <= sequence <= known.last_sequence:
            return None
        return known.base_position + sequence

    def up_to(self, epoch: str) -> "Epochs | None":
        """Return the epochs as they were while `epoch` was the current one; None if unknown."""
        names = [start.epoch for start in self._starts]
        if epoch not in names:
            return None
        return Epochs(self._starts[: names.index(epoch) + 1], self.last_position)

    def ending_at(self, position: int) -> "Epochs":
        """Return these epochs with this last position, or an empty current one."""
        return Epochs(self._starts, max(position, *(one.base_position for one in self._starts)))

    def replace_by(self, other: "Epochs") -> None:
        """Take over the content of `other`, after a new epoch is committed."""
        self._starts = other._starts  # noqa: SLF001 - same class
        self.last_position = other.last_position


def _ended(start: EpochStart, later: EpochStart) -> EpochRange:
    """Return the range of an epoch that `later` has ended."""
    end = (start.base_position, later.base_position)
    # The other machine may go on in the epoch: this one cannot say where it ends.
    is_unknown = later.moved_events is None and later.reason == RENUMBERED
    if is_unknown or later.reason == SHARED_NAME:
        return EpochRange(start.epoch, *end)
    return EpochRange(start.epoch, *end, later.reason, later.moved_events or 0)


def read_epochs(connection: sqlite3.Connection, sql: str = ALL_EPOCHS) -> Epochs:
    """Read the epochs and the last position."""
    starts = list(checked_rows(connection.execute(sql), EpochStart))
    if not all(is_id(start.epoch) and 0 <= start.base_position <= MAX_POSITION for start in starts):
        raise CorruptRow("an epoch has no usable id or base")
    highest_base = max((start.base_position for start in starts), default=0)
    last_position = checked(connection.execute(LAST_POSITION).fetchone()[0], int)
    return Epochs(starts, max(last_position, highest_base))


def cause_of_new_epoch(epochs: Epochs, last_commit: Receipt | None) -> EpochCause | None:
    """Return why a new epoch has to begin; None if the current one can be continued.

    The high-water mark is written after each commit: a file that holds less than the mark, or does
    not know its epoch, is not the file that was written last. Without a mark nothing shows that it
    is: the file may be a copy, put back alone. An epoch without numbers is continued then, so that
    a mark that cannot be written does not cost an epoch at every start.
    """
    if last_commit is None:
        if not epochs.ranges:
            return EpochCause(NEW_FILE)
        return EpochCause(MARK_MISSING) if epochs.last.sequence else None
    known, committed = epochs.range_of(last_commit.epoch), last_commit.sequence
    held = 0 if known is None else known.last_sequence
    if held >= committed and known is not None:
        return None
    lost = last_commit if held < committed or known is None else None
    if not epochs.ranges:
        return EpochCause("new file: the one before is gone or was set aside", lost)
    if known is None:
        return EpochCause("restored backup: the file does not know the epoch last used here", lost)
    return EpochCause(STEPPED_BACK, lost, held)


def begin_epoch(
    connection: sqlite3.Connection,
    epoch: str,
    *,
    base_position: int,
    at_us: int,
    reason: str,
    moved_events: int = 0,
) -> Epochs:
    """Add `epoch` and return all epochs.

    Events above `base_position`, up to the next epoch's base, now belong to it.
    """
    connection.execute(ADD_EPOCH, (epoch, base_position, at_us, reason, moved_events))
    return read_epochs(connection)


def begin_epoch_for(
    connection: sqlite3.Connection, cause: EpochCause, epoch: str, epochs: Epochs, at_us: int
) -> Epochs:
    """Begin an epoch after the last position; record the captures that are lost with it."""
    if cause.lost is not None:
        name, through = cause.lost.epoch, cause.lost.sequence
        lost = LostCaptures(name, cause.held_through, through, cause.reason, at_us)
        add_lost_captures(connection, lost)
    base_position = epochs.last_position
    return begin_epoch(
        connection, epoch, base_position=base_position, at_us=at_us, reason=cause.reason
    )


def open_epochs(
    connection: sqlite3.Connection,
    last_commit: Receipt | None,
    new_epoch: Callable[[], str],
    now_us: Callable[[], int],
) -> tuple[Epochs, EpochCause | None]:
    """Read the epochs; begin a new one, and return why, if the numbers cannot be trusted."""
    epochs = read_epochs(connection)
    cause = cause_of_new_epoch(epochs, last_commit)
    if cause is not None:
        epochs = begin_epoch_for(connection, cause, new_epoch(), epochs, now_us())
    return epochs, cause
