"""Ended epochs of a quarantined database, and their lost captures: taken into the live one."""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.facts import Receipt
from agent.store.db.epochs import Epochs
from agent.store.db.lost_captures import COLUMNS, LostCaptures, add_found
from agent.store.db.returned_numbers import Numbers, add_returned, add_returned_range
from agent.store.db.rows import checked_rows
from agent.store.recovery.last_epochs import name_last_epoch, set_aside_at_us
from agent.store.recovery.salvaged import number_at, read_result, reading_scratch

_LOST = f"SELECT {COLUMNS} FROM lost_captures"  # noqa: S608 - contains no value
_RETURNED = "SELECT epoch, first_sequence, last_sequence FROM returned"
# Of captures that are not fed in: their events are unreadable, or delivered.
_LEFT_ALIASES = """
SELECT position, epoch, sequence FROM alias WHERE position NOT IN (SELECT position FROM todo)
"""
_LAST_POSITION = """
SELECT max(position) FROM (
    SELECT max(position) AS position FROM event UNION ALL SELECT max(position) FROM session
    UNION ALL SELECT max(position) FROM answer UNION ALL SELECT max(position) FROM settled
    UNION ALL SELECT max(watermark) FROM destination
)
"""
_ALIASES = "SELECT epoch, sequence FROM receipt_alias"


@dataclass(frozen=True, slots=True)
class EndedEpochs:
    """The older epochs that a quarantined database knew to have ended, with their losses.

    `last` is the end of its last one, as far as it is readable; `is_whole`: nothing is missing.
    `at_us`: when it was set aside. `returned`: numbers that had new ones. `aliases`: pairs of the
    receipt and the number of captures that are not fed in; another file may hold them as well.
    """

    at_us: int
    last: Receipt
    is_whole: bool
    lost: Sequence[LostCaptures]
    returned: Sequence[tuple[str, Numbers]]
    aliases: Sequence[tuple[Receipt, Receipt]]


def read_ended_epochs(place: Path, epochs: Epochs) -> EndedEpochs:
    """Return the ended epochs of the quarantined database; `epochs` are its own.

    Head office answers later how far it has them; salvaged captures are counted.
    """
    with reading_scratch(place) as connection:
        lost = list(checked_rows(connection.execute(_LOST), LostCaptures))
        returned = list(checked_rows(connection.execute(_RETURNED), tuple[str, int, int]))
        aliases = list(checked_rows(connection.execute(_LEFT_ALIASES), tuple[int, str, int]))
        (last_position,) = connection.execute(_LAST_POSITION).fetchone()
    at_us = set_aside_at_us(place)
    known = {one.epoch for one in lost}
    ended = [one for one in epochs.ranges[:-1] if one.ended_reason and one.epoch not in known]
    lost += [
        LostCaptures(one.epoch, 0, through, one.ended_reason, at_us)
        for one in ended
        for through in [max(one.last_sequence, one.moved_through)]
    ]
    ranges = [(epoch, Numbers(first, last)) for epoch, first, last in returned]
    ranges += [
        (one.epoch, Numbers(one.last_sequence + 1, one.moved_through))
        for one in ended
        if one.moved_through
    ]
    pairs = [
        (Receipt(epoch, sequence), number)
        for position, epoch, sequence in aliases
        if (number := number_at(epochs, position)) is not None
    ]
    last = epochs.ending_at(last_position or 0).last
    is_whole = bool(read_result(place).is_whole)
    return EndedEpochs(at_us, last, is_whole, lost, ranges, pairs)


def add_ended(connection: sqlite3.Connection, ended: EndedEpochs) -> None:
    """Record them in the live database, and which of their numbers have returned."""
    name_last_epoch(connection, ended.at_us, ended.last, is_whole=ended.is_whole)
    add_found(connection, ended.lost, ended.last.epoch)
    for epoch, returned in ended.returned:
        add_returned_range(connection, epoch, returned)
    if not ended.aliases:
        return
    # A capture that was fed in before, unreadable there, is here by the file it came from.
    here = set(checked_rows(connection.execute(_ALIASES), tuple[str, int]))
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for receipt, number in ended.aliases:
        if (receipt.epoch, receipt.sequence) in here:
            numbers[number.epoch].append(number.sequence)
    add_returned(connection, numbers)
