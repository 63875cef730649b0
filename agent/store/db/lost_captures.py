"""Captures that only the high-water mark knows: acknowledged to tills, in no database any more.

Recorded with the epoch that begins for it, as the mark is overwritten then. A file that is set
aside takes its records with it, and the ends of its older epochs: salvage adds them to the next
file. Head office may have some of the captures, so it is asked first (`accepted_through`), and told
afterwards that the rest is lost.
*Obvious:* tell at once. *Why not:* its answer would count lost numbers as well, and no one here
would ever know how many captures are lost.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import asdict, replace

from agent.store.db.returned_numbers import Numbers, count_returned, returned_without_hole
from agent.store.db.rows import intact_rows
from agent.store.files.quarantine import list_unfinished

# Reasons of epochs without a record of their end; of the second, the last number is unknown.
SET_ASIDE_BEFORE = "an earlier version set its database aside"
END_UNKNOWN = "an earlier version set its database aside, and not all of it is readable"
COLUMNS = (
    "epoch, held_through, lost_through, reason, noticed_at_us, accepted_through, told_at_us,"
    " returned, moved_through, named_through, acknowledged_at_us, found_with"
)
_ADD = """
INSERT INTO lost_captures (epoch, held_through, lost_through, reason, noticed_at_us)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (epoch) DO UPDATE SET lost_through = max(lost_through, excluded.lost_through),
    told_at_us = NULL, acknowledged_at_us = NULL, found_with = ''
"""
# Answers of head office from before it was told of a loss stand: its later numbers count them.
_ADD_FOUND = f"""
INSERT INTO lost_captures ({COLUMNS})
SELECT {", ".join(f":{name}" for name in COLUMNS.split(", "))}
WHERE NOT EXISTS (SELECT 1 FROM epoch WHERE epoch = :epoch)
ON CONFLICT (epoch) DO UPDATE SET accepted_through = excluded.accepted_through,
    told_at_us = excluded.told_at_us, named_through = excluded.named_through,
    acknowledged_at_us = excluded.acknowledged_at_us
WHERE excluded.named_through > lost_captures.named_through
    AND excluded.lost_through >= lost_captures.lost_through
"""  # noqa: S608 - contains no value
_ALL = f"SELECT {COLUMNS} FROM lost_captures ORDER BY noticed_at_us, epoch"  # noqa: S608 - no value
_KNOWN_EPOCHS = "SELECT epoch FROM epoch"
# Not if more was lost meanwhile: head office has not answered that.
_SET_ANSWER = """
UPDATE lost_captures SET accepted_through = :accepted_through, told_at_us = :told_at_us,
    acknowledged_at_us = :acknowledged_at_us
WHERE epoch = :epoch AND lost_through = :lost_through
"""
_SET_NAMED = """
UPDATE lost_captures SET named_through = max(named_through, ?) WHERE epoch = ?
"""
_SALVAGED = "SELECT source FROM salvage WHERE is_read = 1"


class LostCaptures(msgspec.Struct, frozen=True, array_like=True):
    """Numbers of `epoch` above `held_through`, up to `lost_through`, that this machine has not.

    A row in the order of its columns, and `may_return`.

    `accepted_through`: how far head office has the epoch; None if it has not answered yet.
    `named_through`: the loss that a heartbeat may have named; from then on the numbers that head
    office has accepted may be lost ones. `told_at_us`: when it confirmed that it knows of the loss;
    `acknowledged_at_us`: when it said that a person has accepted it. `returned` counts those that
    came back by salvage, and `moved_through` is where the first of them end. `may_return`: files
    that were set aside are not salvaged yet, and may hold some. `found_with`: the last epoch of the
    file that knew of it; believed once that epoch is one of this machine.
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
    named_through: int = 0
    acknowledged_at_us: int | None = None
    found_with: str = ""
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
    def is_alarm(self) -> bool:
        """Return whether captures are lost and the loss is not accepted."""
        return self.count > 0 and self.acknowledged_at_us is None

    def acknowledged(self, at_us: int) -> "LostCaptures":
        """Return them as accepted by a person; the first time stays."""
        return replace(self, acknowledged_at_us=self.acknowledged_at_us or at_us)

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
    """Record the lost captures and ended epochs that a quarantined database knew.

    A file that is salvaged by hand may be that of another till: they count once its `last_epoch` is
    known to be one of this machine, from the mark or from another file.
    """
    for lost in found:
        with_epoch = replace(lost, found_with=lost.found_with or last_epoch)
        connection.execute(_ADD_FOUND, asdict(with_epoch))


def read_lost_captures(connection: sqlite3.Connection, directory: Path) -> list[LostCaptures]:
    """Return the captures of older epochs that this machine had and has not any more.

    The one place that says so; also those that head office has. Raises `OSError`.
    """
    read = {source for (source,) in connection.execute(_SALVAGED)}
    may_return = not read.issuperset(list_unfinished(directory))
    own = _own(connection, list(intact_rows(connection.execute(_ALL), LostCaptures)))
    return [replace(_counted(connection, lost), may_return=may_return) for lost in own]


def after_answer(
    lost: LostCaptures, accepted_through: int, told_through: int, now_us: int
) -> LostCaptures:
    """Return `lost` after an answer of head office to a heartbeat.

    `told_through` is the loss that the heartbeat named; 0 if it named none. Once one was named, a
    number that head office has accepted may be a lost one.
    """
    if not told_through and not lost.named_through and lost.told_at_us is None:
        return replace(lost, accepted_through=accepted_through)
    is_told = lost.lost_through <= told_through <= accepted_through
    if lost.told_at_us is None and is_told:
        return replace(lost, told_at_us=now_us)
    return lost


def record_answers(connection: sqlite3.Connection, changed: Sequence[LostCaptures]) -> None:
    """Store the answers of head office."""
    connection.executemany(_SET_ANSWER, [asdict(one) for one in changed])


def record_named(connection: sqlite3.Connection, named: Mapping[str, int]) -> None:
    """Record that a heartbeat is about to name these losses, by epoch."""
    connection.executemany(_SET_NAMED, [(through, epoch) for epoch, through in named.items()])


def _own(connection: sqlite3.Connection, rows: Sequence[LostCaptures]) -> list[LostCaptures]:
    """Return those of this machine: by the mark, or from a file with a last epoch of its own."""
    known = {epoch for (epoch,) in connection.execute(_KNOWN_EPOCHS)} | {""}
    known |= {row.epoch for row in rows if not row.found_with}
    by_file = defaultdict(list)
    for row in rows:
        by_file[row.found_with].append(row.epoch)
    waiting = list(known)
    while waiting:
        for epoch in by_file[waiting.pop()]:
            if epoch not in known:
                known.add(epoch)
                waiting.append(epoch)
    return [row for row in rows if row.found_with in known]


def _counted(connection: sqlite3.Connection, lost: LostCaptures) -> LostCaptures:
    """Count the numbers that returned; an earlier version counted some without naming them."""
    among = Numbers(lost.first, lost.lost_through)
    returned = count_returned(connection, lost.epoch, among)
    moved_through = returned_without_hole(connection, lost.epoch, among)
    return replace(lost, returned=max(lost.returned, returned), moved_through=moved_through)
