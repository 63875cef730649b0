"""Copies of the database made before a migration, with the events undelivered at that time."""

import contextlib
import re
from pathlib import Path
from typing import NamedTuple

from sync.runtime.files.atomic_file import sync_directory

_NAME = re.compile(r".+\.before-[0-9]{4}")
# SQLite creates these when a copy is opened.
_COMPANIONS = ("-wal", "-shm", "-journal")


class MigrationCopy(NamedTuple):
    """A copy of the database; `made_at_us` in microseconds since 1970 UTC."""

    path: Path
    made_at_us: int


def list_migration_copies(database: Path) -> list[MigrationCopy]:
    """Return the copies of `database`, oldest schema first."""
    found = []
    for path in sorted(database.parent.glob(f"{database.name}.before-*")):
        # Another process may delete it now.
        with contextlib.suppress(FileNotFoundError):
            if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                found.append(MigrationCopy(path, path.stat().st_mtime_ns // 1_000))
    return found


def delete_migration_copy(path: Path) -> None:
    """Delete a copy and its companion files. Raises `OSError`.

    The blocks are freed, not overwritten: on a flash disk or a file system with a journal that
    would not reach the old content. Disk encryption does.
    """
    for companion in _COMPANIONS:
        path.with_name(f"{path.name}{companion}").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    sync_directory(path.parent)
