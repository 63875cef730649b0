"""Copies a SQLite database in use into a new file, for `backup FILE` of both programs.

One snapshot by SQLite's backup API, which does not block writers. *Obvious:* VACUUM INTO. *Why
not:* it shows no progress, rebuilds every index, and drops the free pages that salvage could read.
The copy is synced in steps: one sync of all of it would delay the syncs of the running program.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.ownership import acting_as_owner
from sync.runtime.files.scratch_file import remove_abandoned, scratch_beside

_STEP_PAGES = 2_048
_RESERVE_BYTES = 1024 * 1024
_WAIT_SECONDS = 5.0
# The application id (https://www.sqlite.org/fileformat2.html#application_id) of a backup that no
# program has opened yet: a WAL beside it belongs to another file.
_APPLICATION_ID, _UNOPENED = 68, int.from_bytes(b"Copy")
_FULL = "there is no room for it: {needed:,} bytes needed, {free:,} free"
Show = Callable[[str], None]


class BackupError(Exception):
    """No backup was made; the message says why."""


class UnfitTarget(BackupError):  # noqa: N818 - names the thing that is wrong
    """The file that was named cannot become a backup: choose another one."""


def check_target(file: Path, state: Path) -> None:
    """Raise `UnfitTarget` unless `file` is a new one in a directory outside of `state`."""
    if os.path.lexists(file):
        raise UnfitTarget(f"{file} exists already: choose another name")
    if not file.parent.is_dir():
        raise UnfitTarget(f"{file.parent} is not a directory")
    if state.resolve() in (file.parent.resolve(), *file.parent.resolve().parents):
        raise UnfitTarget(
            f"{file} is in the directory of the database, and would be lost with it: choose"
            " another disk or machine"
        )


def back_up(
    database: Path,
    file: Path,
    show: Show,
    read: Callable[[sqlite3.Connection], None] = lambda _: None,
) -> None:
    """Copy `database`, in use or not, into the new `file`: whole, checked and synced.

    `file` appears at the end, mode 0600, and not if anything fails. Removes the unfinished copy of
    a killed backup in its directory. `show` gets the progress, `read` the finished copy. Root reads
    as the owner of the database. Raises `BackupError`.
    """
    try:
        remove_abandoned(file.parent)
        with scratch_beside(file) as (descriptor, scratch):
            # Opened before the database, whose owner may not be allowed to enter this directory.
            with _target(scratch) as copy, _snapshot_of(database) as connection:
                _require_room(connection, descriptor)
                _copy(connection, copy, descriptor, show)
            _mark_as_unopened(scratch)
            show("Checking the copy")
            with closing(_opened(scratch, is_still=True)) as finished:
                ((found,),) = finished.execute("PRAGMA quick_check(1)").fetchall()
                if found != "ok":
                    raise BackupError(f"the database is damaged ({found}): see doctor")
                read(finished)
            os.fsync(descriptor)
            if os.path.lexists(file):
                raise UnfitTarget(f"{file} exists already: choose another name")
            scratch.replace(file)
        sync_directory(file.parent)
    except sqlite3.Error as error:
        raise BackupError(_reason_of(error)) from error
    except OSError as error:
        raise BackupError(f"{error.strerror or error}") from error


def is_unopened_backup(database: Path) -> bool:
    """Return whether `database` is a backup that was put in place and not opened yet."""
    with database.open("rb") as file:
        file.seek(_APPLICATION_ID)
        return file.read(4) == _UNOPENED.to_bytes(4)


def mark_as_opened(connection: sqlite3.Connection) -> None:
    """Note in the file that it was opened: from now on a WAL is its own. Raises `sqlite3.Error`."""
    if connection.execute("PRAGMA application_id").fetchone()[0] == _UNOPENED:
        connection.execute("PRAGMA application_id=0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def _snapshot_of(database: Path) -> Iterator[sqlite3.Connection]:
    """Open `database` read-only; the block reads one snapshot of it."""
    is_still = _is_still(database)
    before = database.stat()
    with acting_as_owner(database.parent), closing(_opened(database, is_still=is_still)) as one:
        # The first read fixes the state, until the transaction ends.
        one.execute("BEGIN")
        one.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield one
    after = database.stat()
    times = (before.st_mtime_ns, before.st_size), (after.st_mtime_ns, after.st_size)
    if is_still and (not _is_still(database) or times[0] != times[1]):
        raise BackupError("the program that writes the database started meanwhile: try again")


def _is_still(database: Path) -> bool:
    """Return whether no process has the database open, and its WAL is empty.

    Such a database is opened as immutable: otherwise SQLite would create files beside it.
    """
    log, index = (database.with_name(f"{database.name}-{end}") for end in ("wal", "shm"))
    return not index.exists() and (not log.exists() or not log.stat().st_size)


def _opened(database: Path, *, is_still: bool) -> sqlite3.Connection:
    uri = f"{database.absolute().as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_WAIT_SECONDS)


@contextmanager
def _target(scratch: Path) -> Iterator[sqlite3.Connection]:
    # Without locks of SQLite: over NFS they would wait for the one on the scratch file.
    uri = f"{scratch.absolute().as_uri()}?nolock=1"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as copy:
        # Nothing of an incomplete copy is needed.
        copy.execute("PRAGMA journal_mode=OFF").fetchall()
        copy.execute("PRAGMA synchronous=OFF")
        yield copy


def _require_room(connection: sqlite3.Connection, descriptor: int) -> None:
    pages, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "page_size")
    )
    found = os.fstatvfs(descriptor)
    needed, free = pages * page_bytes + _RESERVE_BYTES, found.f_bavail * found.f_frsize
    if free < needed:
        raise BackupError(_FULL.format(needed=needed, free=free))


def _copy(
    source: sqlite3.Connection, copy: sqlite3.Connection, descriptor: int, show: Show
) -> None:
    def note(_: int, remaining: int, total: int) -> None:
        show(f"Copying: {100 * (total - remaining) // max(total, 1)} %")
        os.fsync(descriptor)

    source.backup(copy, pages=_STEP_PAGES, progress=note)


def _mark_as_unopened(scratch: Path) -> None:
    with scratch.open("r+b") as file:
        file.seek(_APPLICATION_ID)
        file.write(_UNOPENED.to_bytes(4))


def _reason_of(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"the database is damaged ({error}): see doctor"
    return str(error)
