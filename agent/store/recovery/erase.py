"""Erases the addresses of delivered answers in a quarantined database that has to stay.

A file with unreadable captures is kept for a person to examine. Every version of an answer's row in
the file and in its WAL is overwritten in place, but for answers that could not be fed in. A frame
of the WAL loses its checksum by that; salvage reads it all the same. Idempotent.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from agent.store.recovery.btree import PAGE_BYTES, leaf_rows
from agent.store.recovery.extract import DATABASE_FILE, VERSIONS_PER_STEP, extract
from agent.store.recovery.frames import FRAME_BYTES, FRAME_HEADER_BYTES, HEADER_BYTES
from agent.store.recovery.recognise import recognise
from agent.store.recovery.salvage_scratch import COMPLETE, open_scratch
from agent.store.recovery.salvaged import read_captures
from sync.protocol.wire import EventType

# The task of a process that does this: see `__main__.py`.
ERASE = "erase"
_ANSWERS = f"SELECT position FROM event WHERE type = ? AND {COMPLETE}"  # noqa: S608 - no value
_ADDRESS = 3  # of the values of an answer
_CAPTURES_PER_READ = 500


def erase_delivered(place: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Erase the addresses in `place`, after the delivery of all its readable captures.

    Half of the time is spent in `pause`. Raises `OSError` or `sqlite3.Error`.
    """
    # The scratch file may have been lost after its captures were fed in.
    extract(place, 0, pause)
    with open_scratch(place) as scratch:
        found = scratch.connection.execute(_ANSWERS, (EventType.EMAIL_ANSWERED,)).fetchall()
    delivered = {position for (position,) in found} - set(_not_fed_in(place))
    wal = place / f"{DATABASE_FILE}-wal"
    _erase_in(place / DATABASE_FILE, 0, PAGE_BYTES, delivered, pause)
    _erase_in(wal, HEADER_BYTES + FRAME_HEADER_BYTES, FRAME_BYTES, delivered, pause)


def _not_fed_in(place: Path) -> Iterator[int]:
    """Yield the answers that are altered or belong to an altered session."""
    altered, after = set[int](), 0
    while captures := read_captures(place, after, _CAPTURES_PER_READ):
        for capture in captures:
            if capture.is_altered or capture.session_position in altered:
                altered.add(capture.position)
                yield capture.position
        after = captures[-1].position


def _erase_in(
    file: Path, first: int, step: int, positions: set[int], pause: Callable[[float], None]
) -> None:
    """Overwrite addresses in the pages at `first` and each `step` bytes after it."""
    if not file.exists():
        return
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    with closing(os.fdopen(descriptor, "rb+", buffering=0)):
        started = time.perf_counter()
        places = range(first, os.fstat(descriptor).st_size, step)
        for count, at in enumerate(places, 1):
            page = os.pread(descriptor, PAGE_BYTES, at).ljust(PAGE_BYTES, b"\0")
            for address in _addresses(page, positions):
                os.pwrite(descriptor, bytes(len(address)), at + page.index(address))
            if count % VERSIONS_PER_STEP == 0:
                pause(time.perf_counter() - started)
                started = time.perf_counter()
        os.fsync(descriptor)


def _addresses(page: bytes, positions: set[int]) -> Iterator[bytes]:
    # Never the first page of a file, which is one of SQLite's own schema.
    for row_id, values in filter(None, leaf_rows(0, page, lambda _number: None)):
        row = recognise(row_id, values, None)
        if row is not None and row.table == "answer" and row_id in positions:
            address = row.values[_ADDRESS]
            if isinstance(address, bytes) and any(address):
                yield address
