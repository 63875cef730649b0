"""Numbers of older epochs that salvage has brought back under new numbers.

Kept as ranges, and for good: head office is told of them again after it was restored. The receipts
of salvaged captures are purged with them. Invariant: the ranges of an epoch neither overlap nor
touch, so that their number is that of the holes.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from agent.store.db.rows import intact_rows

_NEIGHBOURS = """
SELECT first_sequence, last_sequence FROM returned_numbers
WHERE epoch = ? AND first_sequence <= ? ORDER BY first_sequence DESC
"""
_DELETE = "DELETE FROM returned_numbers WHERE epoch = ? AND first_sequence BETWEEN ? AND ?"
_ADD = "INSERT INTO returned_numbers (epoch, first_sequence, last_sequence) VALUES (?, ?, ?)"
_COUNT = """
SELECT coalesce(sum(min(last_sequence, :last) - max(first_sequence, :first) + 1), 0)
FROM returned_numbers
WHERE epoch = :epoch AND first_sequence <= :last AND last_sequence >= :first
"""
_THROUGH = """
SELECT min(last_sequence, :last) FROM returned_numbers
WHERE epoch = :epoch AND first_sequence <= :first AND last_sequence >= :first
"""
_EPOCHS = "SELECT DISTINCT epoch FROM returned_numbers"
_ABOVE = """
SELECT first_sequence, last_sequence FROM returned_numbers
WHERE epoch = ? AND last_sequence > ? ORDER BY first_sequence LIMIT ?
"""


class Numbers(NamedTuple):
    """Sequence numbers from `first` to `last`, both inclusive."""

    first: int
    last: int


def add_returned(connection: sqlite3.Connection, returned: Mapping[str, Iterable[int]]) -> None:
    """Add numbers, by epoch. Idempotent."""
    for epoch, numbers in returned.items():
        for one in ranges_of(numbers):
            add_returned_range(connection, epoch, one)


def add_returned_range(connection: sqlite3.Connection, epoch: str, added: Numbers) -> None:
    """Add a range, and merge it with those that it overlaps or touches. Idempotent."""
    first, last = added
    for row in intact_rows(connection.execute(_NEIGHBOURS, (epoch, last + 1)), Numbers):
        if row.last < added.first - 1:
            break
        first, last = min(first, row.first), max(last, row.last)
    connection.execute(_DELETE, (epoch, first, last + 1))
    connection.execute(_ADD, (epoch, first, last))


def ranges_of(numbers: Iterable[int]) -> Iterator[Numbers]:
    """Yield the ranges that these numbers make, in order."""
    found: Numbers | None = None
    for number in sorted(set(numbers)):
        if found is not None and number == found.last + 1:
            found = Numbers(found.first, number)
            continue
        if found is not None:
            yield found
        found = Numbers(number, number)
    if found is not None:
        yield found


def count_returned(connection: sqlite3.Connection, epoch: str, among: Numbers) -> int:
    """Return how many of the numbers `among` have returned."""
    (count,) = connection.execute(_COUNT, among._asdict() | {"epoch": epoch}).fetchone()
    return int(count)


def returned_without_hole(connection: sqlite3.Connection, epoch: str, among: Numbers) -> int:
    """Return the number up to which all `among` returned, from the first on; 0 if that did not."""
    row = connection.execute(_THROUGH, among._asdict() | {"epoch": epoch}).fetchone()
    return 0 if row is None else int(row[0])


def epochs_with_returned(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the epochs with a returned number."""
    return frozenset(epoch for (epoch,) in connection.execute(_EPOCHS))


def read_returned(
    connection: sqlite3.Connection, epoch: str, above: int, limit: int
) -> list[Numbers]:
    """Return the first ranges of returned numbers above a number, in order."""
    rows = intact_rows(connection.execute(_ABOVE, (epoch, above, limit)), Numbers)
    return [Numbers(max(first, above + 1), last) for first, last in rows]
