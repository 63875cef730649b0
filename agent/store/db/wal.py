"""The write-ahead log: kept if SQLite would lose or misread it, synced, preallocated."""

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from agent.facts import Receipt
from agent.store.db.epochs import ALL_EPOCHS_OF_ANY_VERSION, cause_of_new_epoch, read_epochs
from agent.store.db.migrate import revision_of
from agent.store.db.repair.evidence import has_damaged_epochs
from agent.store.files.quarantine import copy_wal, has_orphan_wal
from agent.store.files.storage_errors import StorageDamagedError, storage_error_from
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.foreign_wal import is_foreign_wal
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
# The size that the WAL reaches between two checkpoints.
WAL_BYTES = 9 * 1024 * 1024


class OrphanWal(sqlite3.DatabaseError):
    """A WAL without its database: it may hold captures and must be quarantined first."""


def wal_of(database: Path) -> Path:
    """Return the path of the WAL of `database`."""
    return database.with_name(f"{database.name}-wal")


def require_no_orphan_wal(database: Path) -> None:
    """Raise `OrphanWal` if opening `database`, even read-only, would destroy a WAL."""
    if has_orphan_wal(database):
        raise OrphanWal(f"there is a WAL beside {database.name}, which is empty or missing")


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


def copy_suspect_wal(
    connection: sqlite3.Connection,
    path: Path,
    last_commit: Receipt | None,
    now_us: Callable[[], int],
) -> None:
    """Copy the WAL if it may hold commits that SQLite does not read. Raises `OSError`.

    The first write, a checkpoint, or closing a damaged database would destroy it.
    """
    if not _lacks_commits(connection, path, last_commit):
        return
    copy = copy_wal(path, now_us())
    if copy is not None:
        reason = "SQLite cannot read all of the WAL"
        log_event(_log, logging.ERROR, "store.quarantined", reason=reason, kept_at=str(copy))


def _lacks_commits(connection: sqlite3.Connection, path: Path, last_commit: Receipt | None) -> bool:
    """Return whether SQLite reads less than the high-water mark records, or sees damage."""
    try:
        if last_commit is None or revision_of(connection) is None:
            return last_commit is not None
        if has_damaged_epochs(connection):
            # Nothing can be told from them; opening repairs them.
            return False
        epochs = read_epochs(connection, ALL_EPOCHS_OF_ANY_VERSION)
        return cause_of_new_epoch(epochs, last_commit) is not None
    except sqlite3.DatabaseError as error:
        return isinstance(storage_error_from(error, path.parent), StorageDamagedError)


def sync_leftover_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Sync the commits of a WAL left by an earlier process, before any answer relies on them.

    A process killed between writing a commit and syncing it, or a failed sync, leaves frames that
    SQLite adopts at the next start although they were never synced. A till that repeats its request
    would be answered "already recorded" without a write, and so without a sync. The checkpoint
    syncs the WAL, copies it into the database and syncs that. If another reader blocks it, only the
    WAL is synced.
    """
    ((is_busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if is_busy:
        with wal_of(path).open("rb") as file:
            os.fdatasync(file.fileno())


def preallocate_wal(path: Path, size_bytes: int) -> None:
    """Grow the WAL to `size_bytes`.

    Syncing a growing file also writes the file system's journal and takes twice as long. The
    padding is zeros: SQLite reads a WAL only as far as its checksums are valid. The zeros are
    written, because unwritten extents would cost the journal as well.
    """
    missing_bytes = size_bytes - wal_of(path).stat().st_size
    if missing_bytes <= 0:
        return
    with wal_of(path).open("ab") as wal:
        wal.write(bytes(missing_bytes))
        wal.flush()
        os.fsync(wal.fileno())
