"""Control: a receiver that answers before the commit.

It proves that the crash tests detect such a fault. Start it instead of the receiver with
`python -m tests.crash.head_office_answering_early --config FILE serve`.
"""

import itertools
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from sync.receiver.cli import main
from sync.receiver.db.sqlite import SqliteFile

BATCHES_PER_COMMIT = 8
T = TypeVar("T")
_batches = itertools.count(1)
_open: list[Connection] = []


def _late(database: SqliteFile, work: Callable[[Connection], T]) -> T:
    """Leave the transaction open: a later batch commits it, after this one was answered."""
    if not _open:
        _open.append(database._writer.connect())  # noqa: SLF001 - the planted fault needs it
    result = work(_open[0])
    if next(_batches) % BATCHES_PER_COMMIT == 0:
        _open[0].commit()
    return result


if __name__ == "__main__":
    setattr(SqliteFile, "_write", _late)  # noqa: B010 - a planted fault: types forbid it
    main()
