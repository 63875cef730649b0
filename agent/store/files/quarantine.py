"""Quarantines a damaged database by moving it as a whole, so that it can be salvaged later."""

import contextlib
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from agent.store.files.high_water_mark import (
    MARK_FILE,
    read_high_water_mark,
    write_high_water_mark,
)
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.ownership import acting_as_owner
from sync.runtime.files.private_files import open_private

QUARANTINE = "set-aside"
_NAME = "%Y%m%dT%H%M%SZ"
_DATABASE, _WAL = ".db", "-wal"
COMPANIONS = (_WAL, "-journal")
# A copy that is not complete yet.
_INCOMING = ".incoming-"
_ABANDONED_SECONDS = 24 * 3600
# The number of unreadable captures: present once all that was salvaged is delivered.
DELIVERED_FILE = "delivered"
# Rows found by salvage: see `agent/store/recovery`.
SCRATCH_FILE = "salvage.db"


def quarantine(database: Path, at_us: int, *, with_mark: bool = True) -> Path:
    """Move `database` and its companion files into `set-aside/`; return its new path.

    Without `with_mark` the high-water mark is not that of this file. The database file goes last:
    after a crash in between, it is found damaged again at the next start. The shared-memory file is
    only an index of the WAL and is deleted.
    """
    place = _new_place(database, at_us)
    for companion in COMPANIONS:
        _move(database.with_name(database.name + companion), place)
    if with_mark:
        _copy_mark(database, place)
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    _move(database, place)
    _sync(place)
    return place / database.name


def copy_wal(database: Path, at_us: int) -> Path | None:
    """Copy the WAL of `database` into `set-aside/`, synced to disk on return.

    SQLite treats a damaged WAL as one that ends before the damage, and overwrites the rest. Returns
    the path of the copy, or None if there is no WAL.
    """
    wal = database.with_name(database.name + _WAL)
    if not has_content(wal):
        return None
    place = _new_place(database, at_us)
    copy = place / wal.name
    try:
        with wal.open("rb") as reader:
            _copy_from(reader, copy)
    except OSError:
        shutil.rmtree(place)
        raise
    _copy_mark(database, place)
    _sync(place)
    return copy


def copy_into_quarantine(file: Path, directory: Path, at_us: int) -> str:
    """Copy the database or WAL `file`, and the files beside it, for salvage; return its name.

    It appears at once and complete. Root writes as the owner of `directory`: that user could have
    put a link to a directory of root's there. Raises `OSError`.
    """
    beside = (file.with_name(f"{file.name}{_WAL}"), file.with_name(MARK_FILE))
    name = MARK_FILE.replace(".mark", _DATABASE)
    copies = {file: f"{name}{_WAL}" if file.name.endswith(_WAL) else name}
    copies |= {one: f"{name}{_WAL}" if one == beside[0] else MARK_FILE for one in beside}
    parent = directory / QUARANTINE
    with contextlib.ExitStack() as stack:
        # Opened first: only root may read them, perhaps.
        sources = {
            target: stack.enter_context(source.open("rb"))
            for source, target in copies.items()
            if source == file or source.exists()
        }
        stack.enter_context(acting_as_owner(directory))
        parent.mkdir(exist_ok=True, mode=0o700)
        incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=parent))
        try:
            for target, reader in sources.items():
                _copy_from(reader, incoming / target)
            place = _new_place(directory / name, at_us)
            incoming.replace(place)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        _sync(place)
    return place.name


def remove_abandoned(directory: Path, now_seconds: float) -> None:
    """Remove incomplete copies of commands that were killed a day ago: they hold addresses.

    Raises `OSError`.
    """
    for name in list_quarantined(directory):
        place = directory / QUARANTINE / name
        is_old = place.stat().st_mtime < now_seconds - _ABANDONED_SECONDS
        if name.startswith(_INCOMING) and is_old:
            shutil.rmtree(place)


def _copy_from(reader: BinaryIO, target: Path) -> None:
    descriptor = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())


def has_orphan_wal(database: Path) -> bool:
    """Return whether there is a WAL without its database.

    SQLite would replay such a WAL into the next database of that name, and deletes one that it
    finds beside an empty file.
    """
    if has_content(database):
        return False
    if database.exists():
        return has_content(database.with_name(database.name + _WAL))
    return any(database.with_name(database.name + companion).exists() for companion in COMPANIONS)


def list_quarantined(directory: Path) -> list[str]:
    """Return the names of the quarantined databases in the storage directory, oldest first."""
    place = directory / QUARANTINE
    return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []


def list_unfinished(directory: Path) -> list[str]:
    """Return the names of those that are not salvaged and delivered yet, oldest first."""
    return [name for name in list_quarantined(directory) if _is_unfinished(directory, name)]


def unreadable_in(directory: Path, name: str) -> int | None:
    """Return the unreadable captures of one that is salvaged and delivered; None of others."""
    try:
        return int((directory / QUARANTINE / name / DELIVERED_FILE).read_text(encoding="ascii"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _is_unfinished(directory: Path, name: str) -> bool:
    place = directory / QUARANTINE / name
    if name.startswith(_INCOMING) or not place.is_dir() or (place / DELIVERED_FILE).exists():
        return False
    sources = (SCRATCH_FILE, _DATABASE, _WAL)
    return any(file.name.endswith(sources) for file in place.iterdir())


def quarantined_at(name: str) -> datetime | None:
    """Return the time in the name of a quarantined database; None for another name."""
    try:
        return datetime.strptime(name[:16], _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def _copy_mark(database: Path, place: Path) -> None:
    """Keep the high-water mark: it tells salvage up to which number captures were acknowledged.

    On a full disk there is no mark, never a part of one. Salvage restores it from the record in
    the next database.
    """
    with contextlib.suppress(OSError):
        mark = read_high_water_mark(database.parent)
        if mark is not None:
            write_high_water_mark(place, mark)


def _move(file: Path, place: Path) -> None:
    if file.exists():
        file.rename(place / file.name)


def has_content(file: Path) -> bool:
    """Return whether `file` exists and is not empty."""
    return file.exists() and file.stat().st_size > 0


def _new_place(database: Path, at_us: int) -> Path:
    """Create a directory named for the time, with a number appended if it exists."""
    name = datetime.fromtimestamp(at_us / 1e6, UTC).strftime(_NAME)
    parent = database.parent / QUARANTINE
    place, count = parent / name, 1
    while place.exists():
        count += 1
        place = parent / f"{name}-{count}"
    parent.mkdir(exist_ok=True, mode=0o700)
    place.mkdir(mode=0o700)
    return place


def _sync(place: Path) -> None:
    """Sync the entries of `place` and of its two parents."""
    for directory in (place, place.parent, place.parent.parent):
        sync_directory(directory)
