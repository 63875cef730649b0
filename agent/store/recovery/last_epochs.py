"""The last epoch of a file set aside, where only the file or its mark knows it.

Earlier versions recorded neither its loss nor its end, so that head office would never hear of it.
That a file is this machine's own is known by its time: the next epoch began right after it was set
aside. One that was given by hand came at another time.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agent.facts import Receipt
from agent.store.db.lost_captures import (
    END_UNKNOWN,
    SET_ASIDE_BEFORE,
    LostCaptures,
    add_lost_captures,
)
from agent.store.files.high_water_mark import read_high_water_mark, write_high_water_mark
from agent.store.files.quarantine import QUARANTINE, quarantined_at

_LONGEST_OPENING_US = 15_000_000
_IS_KNOWN = """
SELECT EXISTS (SELECT 1 FROM epoch WHERE epoch = :epoch)
    OR EXISTS (SELECT 1 FROM lost_captures WHERE epoch = :epoch AND found_with = '')
"""
# The time in the name of a place has no fractions of a second.
_FOLLOWED = "SELECT 1 FROM epoch WHERE began_at_us BETWEEN ? AND ?"
_RECORDED = """
SELECT epoch, lost_through FROM lost_captures
WHERE found_with = '' AND noticed_at_us BETWEEN ? AND ? AND typeof(lost_through) = 'integer'
"""


class MarkedPlace(NamedTuple):
    """A file set aside, when that was, and the last commit by its mark."""

    at_us: int
    last_commit: Receipt


def set_aside_at_us(place: Path) -> int:
    """Return the time in the name of a place, in whole seconds; 0 if it has none."""
    at = quarantined_at(place.name)
    return 0 if at is None else int(at.timestamp()) * 1_000_000


def read_marks(directory: Path, names: Sequence[str]) -> list[MarkedPlace]:
    """Return the marks of files set aside. Raises `OSError`."""
    places = [directory / QUARANTINE / name for name in names]
    marks = [(place, read_high_water_mark(place)) for place in places]
    return [MarkedPlace(set_aside_at_us(one), mark) for one, mark in marks if mark is not None]


def unnamed_marks(
    connection: sqlite3.Connection, marks: Sequence[MarkedPlace]
) -> list[MarkedPlace]:
    """Return the marks of this machine's own files that name an epoch without a record."""
    return [one for one in marks if _is_unnamed(connection, one.at_us, one.last_commit.epoch)]


def name_marks(connection: sqlite3.Connection, marks: Sequence[MarkedPlace]) -> None:
    """Record the last epochs of these files."""
    for at_us, last in marks:
        lost = LostCaptures(last.epoch, 0, last.sequence, SET_ASIDE_BEFORE, at_us)
        add_lost_captures(connection, lost)


def name_last_epoch(
    connection: sqlite3.Connection, at_us: int, last: Receipt, *, is_whole: bool
) -> None:
    """Record the last epoch of a file without a mark, as far as the file knows.

    Unless all of it is readable, it may have gone on: then head office does not hear that it ended
    there.
    """
    if last.sequence and _is_unnamed(connection, at_us, last.epoch):
        reason = SET_ASIDE_BEFORE if is_whole else END_UNKNOWN
        lost = LostCaptures(last.epoch, 0, last.sequence, reason, at_us)
        add_lost_captures(connection, lost)


def restore_mark(connection: sqlite3.Connection, place: Path) -> None:
    """Write a mark that a full disk prevented, from the record of the next epoch.

    Raises `OSError`.
    """
    at_us = set_aside_at_us(place)
    if not at_us or read_high_water_mark(place) is not None:
        return
    rows = connection.execute(_RECORDED, (at_us, at_us + _LONGEST_OPENING_US)).fetchall()
    if len(rows) == 1:
        write_high_water_mark(place, Receipt(*rows[0]))


def _is_unnamed(connection: sqlite3.Connection, at_us: int, epoch: str) -> bool:
    (is_known,) = connection.execute(_IS_KNOWN, {"epoch": epoch}).fetchone()
    if is_known or not at_us:
        return False
    window = (at_us, at_us + _LONGEST_OPENING_US)
    return connection.execute(_FOLLOWED, window).fetchone() is not None
