"""Checks of a SQLite database: version, damage, schema, room. Leaves no file beside it."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import StaticPool, create_engine

from sync.receiver.config import ReceiverSettings
from sync.receiver.db.migrate import revision_of
from sync.receiver.db.sqlite import find_lock
from sync.receiver.db.sqlite_write_lock import find_long_holder
from sync.receiver.doctor.schema import check_schema, check_tills, count_tills
from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.files.lock_holder import lock_holder
from sync.runtime.files.private_files import is_readable

_DATABASE, _LOCK, _INTEGRITY, _ROOM = "database", "lock", "integrity", "free disk"
_SECOND_LOOK_SECONDS = 1.0
_REQUIRED_VERSION = (3, 37, 0)  # STRICT tables
_CHECK_SECONDS = 10.0
_STEPS = 10_000
_MIB = 1024**2
_LEAST_BYTES, _AMPLE_BYTES = 64 * _MIB, 1024 * _MIB


def check_sqlite(settings: ReceiverSettings) -> Iterator[Check]:
    """Check the file that the settings name."""
    path = settings.database_path
    try:
        exists = path.exists()
        may_read = not exists or is_readable(path)
    except PermissionError:
        may_read = False
    if not may_read:
        yield fault(_DATABASE, f"{path}: this user may not read it", "run doctor as root")
        return
    if sqlite3.sqlite_version_info < _REQUIRED_VERSION:
        found = f"SQLite {sqlite3.sqlite_version} is too old"
        yield fault(_DATABASE, found, "upgrade SQLite to 3.37 or later")
        return
    size = path.stat().st_size if exists else 0
    described = f"{size / _MIB:,.0f} MiB" if exists else "made at the first start"
    yield passed(_DATABASE, f"{path}: SQLite {sqlite3.sqlite_version}, {described}")
    if exists:
        yield from _check_lock(path)
        yield from _check_content(path)
    yield check_room(path, size)


def check_room(path: Path, size: int) -> Check:
    """Judge the free space on the disk of `path`; `forget` needs as much as the database has."""
    place = next(one for one in (path, *path.parents) if one.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / _MIB:,.0f} MiB free"
    if free < _LEAST_BYTES:
        return fault(_ROOM, found, "free some space: captures are soon refused, and wait at tills")
    if free < max(_AMPLE_BYTES, size):
        advice = "free some space: the database grows, and forget needs as much as it has"
        return warning(_ROOM, found, advice)
    return passed(_ROOM, found)


def _check_lock(path: Path) -> Iterator[Check]:
    """Yield what holds a lock for a while: a fault unless it is a command of head office."""
    if (holder := find_long_holder(path)) is not None:
        found = f"{holder} writes to the database for long: agents get 503 and send again"
        yield warning(_LOCK, found, "let it finish: forget rewrites the whole file")
        return
    holder = find_lock(path)
    if holder is None or holder == lock_holder(path.with_name(f"{path.name}.lock")):
        return
    time.sleep(_SECOND_LOOK_SECONDS)
    if find_lock(path) == holder:
        found = f"{holder} holds a lock on the database: agents get 503 and keep their captures"
        yield fault(
            _LOCK, found, "end it, or let it finish; to read, use the commands of loyalty-hq"
        )


def _check_content(path: Path) -> Iterator[Check]:
    try:
        with closing(_opened(path)) as connection:
            yield _check_integrity(connection)
            engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
            with engine.connect() as reading:
                revision = revision_of(reading)
                yield check_schema(revision)
                if revision is not None:
                    yield check_tills(count_tills(reading))
    except sqlite3.Error as error:
        advice = "restore it from a backup: agents send again what it lacks"
        yield fault(_INTEGRITY, f"{path}: {error}", advice)


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file for reading; without a log as immutable: SQLite would make files beside it."""
    log = path.with_name(f"{path.name}-wal")
    is_still = not log.exists() or not log.stat().st_size
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)


def _check_integrity(connection: sqlite3.Connection) -> Check:
    ends_at = time.monotonic() + _CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS)
    try:
        found = "; ".join(str(row[0]) for row in connection.execute("PRAGMA quick_check(3)"))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return passed(_INTEGRITY, f"no damage found in {_CHECK_SECONDS:.0f} s; not all was read")
    finally:
        connection.set_progress_handler(None, 0)
    if found == "ok":
        return passed(_INTEGRITY, "SQLite found no damage")
    advice = "restore it from a backup: agents send again what it lacks"
    return fault(_INTEGRITY, f"the file is damaged: {found}", advice)
