"""Moves a damaged database out of the way, whole: tills are served, and it can be salvaged."""

from pathlib import Path

from agent.store.durable import sync_directory

SET_ASIDE = "set-aside"
_COMPANIONS = ("-wal", "-journal")


def set_aside(database: Path, name: str) -> Path:
    """Move `database` and what belongs to it to `set-aside/<name>/`; return where it now lies.

    The file itself goes last: after a crash in between it is found damaged again. The
    shared-memory file is only an index of the WAL and is dropped.
    """
    place = _free_place(database.parent / SET_ASIDE, name)
    place.mkdir(parents=True)
    for companion in _COMPANIONS:
        _move(database.with_name(database.name + companion), place)
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    _move(database, place)
    sync_directory(place)
    sync_directory(database.parent)
    return place / database.name


def has_strays(database: Path) -> bool:
    """Tell whether a WAL lies there without its database.

    SQLite would play such a WAL into the next database of that name.
    """
    return not database.exists() and any(
        database.with_name(database.name + companion).exists() for companion in _COMPANIONS
    )


def list_set_aside(directory: Path) -> list[str]:
    """Return the names of what was set aside in the storage directory, oldest first."""
    place = directory / SET_ASIDE
    return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []


def _move(file: Path, place: Path) -> None:
    if file.exists():
        file.rename(place / file.name)


def _free_place(parent: Path, name: str) -> Path:
    place, count = parent / name, 1
    while place.exists():
        count += 1
        place = parent / f"{name}-{count}"
    return place
