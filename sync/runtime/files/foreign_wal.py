"""Recognises a WAL that belongs to another state of its database: one file of two was restored.

SQLite takes any WAL of that name for the newest pages of the file, and would mix both. Two signs:
the file is a backup that was never opened, or pages are in neither. A page that the database
gained is in its WAL until a checkpoint has written it to the file.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.sqlite_backup import is_unopened_backup

# https://www.sqlite.org/fileformat2.html#the_write_ahead_log: page and size of the database after a
# commit (0 in the other frames), salts; checksums follow.
_HEADER, _FRAME = struct.Struct(">16x8s8x"), struct.Struct(">II8s8x")
_PAGE_BYTES = 4_096


def is_foreign_wal(database: Path, wal: Path, *, never_shrinks: bool) -> bool:
    """Return whether `wal` is of another state of `database`; False if one of them is empty.

    `never_shrinks`: no VACUUM is ever run on it. Raises `OSError`.
    """
    if not (_has_content(database) and _has_content(wal)):
        return False
    return is_unopened_backup(database) or _lacks_pages(database, wal, never_shrinks=never_shrinks)


def rename_foreign_wal(database: Path) -> Path | None:
    """Rename the WAL of another state of `database`; return its new path, None if it is its own.

    Raises `OSError`.
    """
    wal = database.with_name(f"{database.name}-wal")
    if not is_foreign_wal(database, wal, never_shrinks=False):
        return None
    kept = wal.rename(wal.with_name(f"{wal.name}.of-another-state"))
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    sync_directory(database.parent)
    return kept


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _lacks_pages(database: Path, wal: Path, *, never_shrinks: bool) -> bool:
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
    has_shrunk = never_shrinks and in_file > size
    return has_shrunk or any(page not in pages for page in range(in_file + 1, size + 1))


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
