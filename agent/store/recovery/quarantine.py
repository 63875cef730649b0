"""Moves a damaged database out of the way, whole: tills are served, and it can be salvaged."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from agent.store.files.atomic_write import sync_directory

SET_ASIDE = "set-aside"
_WAL = "-wal"
_COMPANIONS = (_WAL, "-journal")


def set_aside(database: Path, at_us: int) -> Path:
    """Move `database` and what belongs to it to a place in `set-aside/`; return where it now lies.

    The file itself goes last: after a crash in between it is found damaged again. The
    shared-memory file is only an index of the WAL and is dropped.
    """
    place = _new_place(database, at_us)
    for companion in _COMPANIONS:
        _move(database.with_name(database.name + companion), place)
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    _move(database, place)
    _sync(place)
    return place / database.name


def keep_wal(database: Path, at_us: int) -> Path | None:
    """Copy the WAL of `database` to a place in `set-aside/`, on the disk before this returns.

    SQLite takes a damaged WAL for one that ends before the damage, and writes over the rest.
    Returns where the copy lies; None where there is no WAL.
    """
    wal = database.with_name(database.name + _WAL)
    if not _has_content(wal):
        return None
    place = _new_place(database, at_us)
    copy = place / wal.name
    try:
        with wal.open("rb") as source, copy.open("xb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    except OSError:
        shutil.rmtree(place)
        raise
    _sync(place)
    return copy


def has_strays(database: Path) -> bool:
    """Tell whether a WAL lies there without its database.

    SQLite would play such a WAL into the next database of that name, and deletes one that it
    finds beside an empty file.
    """
    if _has_content(database):
        return False
    if database.exists():
        return _has_content(database.with_name(database.name + _WAL))
    return any(database.with_name(database.name + companion).exists() for companion in _COMPANIONS)


def list_set_aside(directory: Path) -> list[str]:
    """Return the names of what was set aside in the storage directory, oldest first."""
    place = directory / SET_ASIDE
    return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []


def _move(file: Path, place: Path) -> None:
    if file.exists():
        file.rename(place / file.name)


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _new_place(database: Path, at_us: int) -> Path:
    """Make a directory named for the time; a number follows where there is one already."""
    name = f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y%m%dT%H%M%SZ}"
    parent = database.parent / SET_ASIDE
    place, count = parent / name, 1
    while place.exists():
        count += 1
        place = parent / f"{name}-{count}"
    place.mkdir(parents=True)
    return place


def _sync(place: Path) -> None:
    """Put the names in `place` on the disk, and its own."""
    for directory in (place, place.parent, place.parent.parent):
        sync_directory(directory)
