"""Sets a WAL aside that belongs to another state of the database: one file of two was restored.

SQLite takes any WAL of that name for the newest pages of the file, and would mix both. Two signs:
the file is a backup that was never opened, or pages are in neither. A page that the database
gained is in its WAL until a checkpoint has written it to the file, and the file never shrinks.
"""

import logging
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.store.db.wal import wal_of
from agent.store.files.quarantine import copy_wal, has_content
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.sqlite_backup import is_unopened_backup
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
# https://www.sqlite.org/fileformat2.html#the_write_ahead_log: page and size of the database after a
# commit (0 in the other frames), salts; checksums follow.
_HEADER, _FRAME = struct.Struct(">16x8s8x"), struct.Struct(">II8s8x")
_PAGE_BYTES = 4_096


def set_foreign_wal_aside(database: Path, now_us: Callable[[], int]) -> None:
    """Move the WAL of another state of `database` into `set-aside/`. Raises `OSError`."""
    wal = wal_of(database)
    if not (has_content(database) and has_content(wal)):
        return
    if not (is_unopened_backup(database) or _lacks_pages(database, wal)):
        return
    # Copied with the mark, and deleted afterwards: a crash between leaves one more copy to salvage.
    kept = copy_wal(database, now_us())
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    wal.unlink()
    sync_directory(database.parent)
    reason = "the WAL belongs to another state of the database: only one of the two was restored"
    log_event(_log, logging.ERROR, "store.quarantined", reason=reason, kept_at=str(kept))


def _lacks_pages(database: Path, wal: Path) -> bool:
    in_file = database.stat().st_size // _PAGE_BYTES
    size, pages, uncommitted = 0, set[int](), set[int]()
    for page, size_after in _frames(wal):
        uncommitted.add(page)
        if size_after:
            size = size_after
            pages |= uncommitted
            uncommitted.clear()
    if not pages or max(pages) > size:
        return False  # no commit, or damage
    return in_file > size or any(page not in pages for page in range(in_file + 1, size + 1))


def _frames(wal: Path) -> Iterator[tuple[int, int]]:
    """Yield page and size after a commit of each frame of the current log."""
    descriptor = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = os.pread(descriptor, _HEADER.size, 0)
        (salts,) = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
        at = _HEADER.size
        while len(frame := os.pread(descriptor, _FRAME.size, at)) == _FRAME.size:
            page, size_after, own = _FRAME.unpack(frame)
            if own != salts or not page:
                return
            yield page, size_after
            at += _FRAME.size + _PAGE_BYTES
    finally:
        os.close(descriptor)
