"""Sets a WAL aside that belongs to another state of the database: one file of two was restored."""

import logging
from collections.abc import Callable
from pathlib import Path

from agent.store.db.wal import wal_of
from agent.store.files.quarantine import copy_wal
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.foreign_wal import is_foreign_wal
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


def set_foreign_wal_aside(database: Path, now_us: Callable[[], int]) -> None:
    """Move the WAL of another state of `database` into `set-aside/`. Raises `OSError`."""
    wal = wal_of(database)
    if not is_foreign_wal(database, wal, never_shrinks=True):
        return
    # Copied with the mark, and deleted afterwards: a crash between leaves one more copy to salvage.
    kept = copy_wal(database, now_us())
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    wal.unlink()
    sync_directory(database.parent)
    reason = "the WAL belongs to another state of the database: only one of the two was restored"
    log_event(_log, logging.ERROR, "store.quarantined", reason=reason, kept_at=str(kept))
