"""Overwrites stale WAL frames: they still hold data that was erased later.

After a checkpoint SQLite restarts its log at the front of the file; older frames remain behind its
end. *Obvious:* truncate the file with the checkpoint. *Why not:* its blocks are freed with their
content, and a file that grows again syncs twice as slowly. *Instead:* overwrite in place, with
zeros, all frames whose salts differ from those of the log.

Only the writer's thread may call this, since it alone appends to the log. Readers and crash
recovery ignore frames whose salts differ from those of the header. Files are opened beside SQLite's
own descriptor, which is safe for a WAL: SQLite's locks are on other files.

https://www.sqlite.org/fileformat2.html#walformat
"""

import os
import sqlite3
from pathlib import Path

from agent.store.db.cursor import ensure_cursor
from agent.store.db.transaction import transaction

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_PAGE_SIZE = slice(8, 12)
_SALTS = slice(16, 24)
_FRAME_SALTS_FROM, _FRAME_SALTS_TO = 8, 16
# About 260 KB: a till that waits for this step notices nothing.
FRAMES_IN_A_STEP = 64
COUNT_SCRUB = "UPDATE destination SET scrubs = scrubs + 1 WHERE name = 'central'"


def restart_log(connection: sqlite3.Connection, wal: Path) -> bool:
    """Begin a new log with a commit; return whether all frames before it are stale now.

    Call when a checkpoint has left nothing to copy: then SQLite begins one, unless a reader still
    needs the log. Raises `OSError`, `sqlite3.Error`.
    """
    before = _read_salts(wal)
    with transaction(connection):
        ensure_cursor(connection)
        connection.execute(COUNT_SCRUB)
    return _read_salts(wal) != before


def overwrite_stale_frames(wal: Path, first: int) -> int | None:
    """Overwrite the stale ones of the next frames from number `first` (0: the first one).

    Returns the number to continue with, or None at the end of the file. Raises `OSError`.
    """
    with wal.open("r+b", buffering=0) as file:
        salts, page_bytes = _read_log(file.read(_HEADER_BYTES))
        if salts is None:
            return None
        frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        start = _HEADER_BYTES + first * frame_bytes
        frames = os.pread(file.fileno(), FRAMES_IN_A_STEP * frame_bytes, start)
        # The frames of the log are the first ones of the file.
        used = 0
        while frames[used + _FRAME_SALTS_FROM : used + _FRAME_SALTS_TO] == salts:
            used += frame_bytes
        if any(frames[used:]):
            os.pwrite(file.fileno(), bytes(len(frames) - used), start + used)
    return first + FRAMES_IN_A_STEP if len(frames) == FRAMES_IN_A_STEP * frame_bytes else None


def _read_salts(wal: Path) -> bytes | None:
    """Return the salts of the current log; None if there is none."""
    with wal.open("rb") as file:
        return _read_log(file.read(_HEADER_BYTES))[0]


def _read_log(header: bytes) -> tuple[bytes | None, int]:
    """Return the salts of the log and its page size; (None, 0) for a log that never began."""
    if header[:4] not in _MAGIC:
        return None, 0
    page_bytes = int.from_bytes(header[_PAGE_SIZE], "big")
    return header[_SALTS], page_bytes
