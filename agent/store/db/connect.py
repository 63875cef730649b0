"""Opens the agent's database file: pragmas, WAL, schema, epochs, boot."""

import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import bindparam, func, insert, select

from agent.store.db.epochs import Epochs, begin_epoch, read_epochs, sensible
from agent.store.db.migrate import migrate, revision_of
from agent.store.db.sql import compiled, constant
from agent.store.db.tables import Boot, table_of
from agent.store.db.transactions import transaction
from agent.store.files.high_water_mark import Marked
from agent.store.files.storage_errors import StorageDamagedError, storage_error_from
from agent.store.recovery.quarantine import keep_wal
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
DATABASE_FILE = "agent.db"
WAL_BYTES = 9 * 1024 * 1024
_boot = table_of(Boot)
ADD_BOOT = compiled(insert(_boot))
BOOT_NUMBER = compiled(select(_boot.c.number).where(_boot.c.boot_id == bindparam("boot_id")))
LAST_BOOT_NUMBER = compiled(select(func.coalesce(func.max(_boot.c.number), constant(0))))

# synchronous=FULL: COMMIT returns after the sync (NORMAL loses commits in a power cut).
# wal_autocheckpoint=0: a checkpoint inside a commit would delay answers; the writer runs it.
# secure_delete: an erased address is overwritten with zeros. journal_size_limit: a WAL that grew
# once is truncated again.
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA journal_size_limit=16777216",
    "PRAGMA cache_size=-8192",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
)


@dataclass(frozen=True, slots=True)
class StoreEnvironment:
    """Inputs of the store from its environment: clock, new epoch ids, boot id."""

    now_us: Callable[[], int]
    new_epoch: Callable[[], str]
    boot_id: str


def connect_for_writing(
    path: Path, mark: Marked | None, environment: StoreEnvironment
) -> sqlite3.Connection:
    """Open the only writing connection, on a file of the newest schema.

    The driver's transaction handling is off: its deferred BEGIN can fail on the first write at
    once, regardless of the busy timeout. Raises `sqlite3.Error`, or `OSError` if a suspect WAL
    cannot be copied.
    """
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    try:
        if is_in_doubt(connection, path, mark):
            note_kept(keep_wal(path, environment.now_us()))
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        settle_wal(connection, path.with_name(f"{path.name}-wal"))
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def is_in_doubt(connection: sqlite3.Connection, path: Path, mark: Marked | None) -> bool:
    """Return whether the WAL may hold commits that SQLite does not read; it is then kept.

    The first write, a checkpoint, or closing a damaged database would destroy it.
    """
    try:
        if mark is None or revision_of(connection) is None:
            return mark is not None
        extent = read_epochs(connection).extent_of(mark.epoch)
    except sqlite3.DatabaseError as error:
        return isinstance(storage_error_from(error, path.parent), StorageDamagedError)
    return extent is None or extent < mark.sequence


def note_kept(copy: Path | None) -> None:
    """Log the path of a WAL copy; None means that there was no WAL."""
    if copy is not None:
        reason = "SQLite does not read all of the WAL"
        log_event(_log, logging.ERROR, "store.set_aside", reason=reason, kept_at=str(copy))


def settle_wal(connection: sqlite3.Connection, wal: Path) -> None:
    """Sync the commits of a WAL left by an earlier process, before any answer relies on them.

    A process killed between writing a commit and syncing it, or a failed sync, leaves frames that
    SQLite adopts at the next start although they were never synced. A till that repeats its request
    would be answered "already recorded" without a write, and so without a sync. The checkpoint
    syncs the WAL, copies it into the database and syncs that. If another reader blocks it, only the
    WAL is synced.
    """
    ((is_busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if is_busy:
        with wal.open("rb") as file:
            os.fdatasync(file.fileno())


def grow_wal(directory: Path) -> None:
    """Preallocate the WAL at the size that it reaches between two checkpoints.

    Syncing a growing file also writes the file system's journal and takes twice as long. The
    padding is zeros: SQLite reads a WAL only as far as its checksums are valid. The zeros are
    written, because unwritten extents would cost the journal as well.
    """
    path = directory / f"{DATABASE_FILE}-wal"
    missing_bytes = WAL_BYTES - path.stat().st_size
    if missing_bytes <= 0:
        return
    with path.open("ab") as wal:
        wal.write(bytes(missing_bytes))
        wal.flush()
        os.fsync(wal.fileno())


def open_epochs(
    connection: sqlite3.Connection, mark: Marked | None, environment: StoreEnvironment
) -> Epochs:
    """Read the epochs; begin a new one if the current one's numbers cannot be trusted."""
    epochs = read_epochs(connection)
    reason = reason_for_new_epoch(epochs, mark)
    if reason is None:
        return epochs
    with transaction(connection):
        return begin_epoch(
            connection,
            epochs,
            epoch=environment.new_epoch(),
            at_us=environment.now_us(),
            reason=reason,
        )


def reason_for_new_epoch(epochs: Epochs, mark: Marked | None) -> str | None:
    """Return why the file needs a new epoch; None if it can go on with the current one.

    The high-water mark is written after each commit: a file that holds less than the mark, or does
    not know its epoch, is not the file that was written last.
    """
    if epochs.current is None:
        return "new file"
    if mark is None:
        return None
    extent = epochs.extent_of(mark.epoch)
    if extent is None:
        return "file restored from a copy: it does not know the epoch last used here"
    if extent < mark.sequence:
        return f"file stepped back from sequence {mark.sequence} to {extent}"
    return None


def open_boot(connection: sqlite3.Connection, environment: StoreEnvironment) -> int:
    """Return the number of the current boot; insert a row for a new one."""
    for (number,) in sensible(connection.execute(BOOT_NUMBER.sql, (environment.boot_id,))):
        return int(number)
    with transaction(connection):
        number = int(connection.execute(LAST_BOOT_NUMBER.sql).fetchone()[0]) + 1
        values = {
            "number": number,
            "boot_id": environment.boot_id,
            "first_seen_us": environment.now_us(),
        }
        connection.execute(ADD_BOOT.sql, ADD_BOOT.row(values))
    return number


def database_bytes(directory: Path) -> int:
    """Return the size of the database of `directory` and its WAL on disk."""
    return sum(
        file.stat().st_size
        for file in (directory / DATABASE_FILE, directory / f"{DATABASE_FILE}-wal")
        if file.exists()
    )
