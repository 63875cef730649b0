"""Checks of the database: SQLite version, file integrity, quarantined databases."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.db.inspection import inspect_database, is_interrupted
from agent.store.db.wal import OrphanWal, require_no_orphan_wal
from agent.store.files.lock import find_lock_holder
from agent.store.files.quarantine import list_quarantined, quarantined_at, unreadable_in
from agent.store.files.storage_errors import find_database_lock
from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.cli.printing import count

_VERSION, _INTEGRITY, _QUARANTINE = "SQLite", "integrity", "quarantine"
_LOCK = "lock"
_SECOND_LOOK_SECONDS = 1.0
_DELETED = " (deleted)"
_REQUIRED_VERSION = (3, 37, 0)  # STRICT tables
_WAL_RESET_FIXED = (3, 51, 3)
_MAX_MESSAGES = 3


def check_integrity(directory: Path, *, within_seconds: float) -> Check:
    """Run `quick_check` on the database."""
    try:
        require_no_orphan_wal(directory / DATABASE_FILE)
        if not (directory / DATABASE_FILE).exists():
            return passed(_INTEGRITY, "there is no database yet")
        with inspect_database(directory, within_seconds=within_seconds) as connection:
            rows = connection.execute(f"PRAGMA quick_check({_MAX_MESSAGES})")
            messages = "; ".join(str(row[0]) for row in rows)
    except sqlite3.Error as error:
        if is_interrupted(error):
            found = f"no damage found in {within_seconds:.0f} s, but the check is incomplete"
            return warning(_INTEGRITY, found, "check again at night, with --thorough")
        messages = str(error)
        if not _is_damage(error):
            return _unreadable(messages)
    except OSError as error:
        return _unreadable(error.strerror or "")
    if messages == "ok":
        return passed(_INTEGRITY, "SQLite found no damage")
    start = "start" if find_lock_holder(directory) is None else "restart"
    advice = f"{start} the agent: it moves the file to quarantine and starts with a new one"
    return fault(_INTEGRITY, f"the file is damaged: {messages}", advice)


def check_in_place(directory: Path, agent: int, proc: Path = Path("/proc")) -> Check | None:
    """Return a fault if the agent of this process id has another database open than the one here.

    That one holds captures which are nowhere else: any advice about the file at the path would
    destroy them. Returns None if all is well, or if this user may not see the process.
    """
    database, found = directory / DATABASE_FILE, False
    try:
        for descriptor in (proc / str(agent) / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed by now
                name = str(descriptor.readlink()).removesuffix(_DELETED)
                if Path(name).name == DATABASE_FILE:
                    found = True
                    if database.exists() and descriptor.samefile(database):
                        return None
    except OSError:
        return None
    if not found:
        return None
    return fault(
        _INTEGRITY,
        f"the running agent (process {agent}) has another file open than {database}: that was "
        "removed, replaced or moved",
        "do not stop the agent, it holds the captures. Free some space on the disk and make the "
        "directory writable: it then saves them into a new file by itself",
    )


def check_lock(
    directory: Path, sleep: Callable[[float], None], agent: int | None
) -> Iterator[Check]:
    """Yield a fault if a program other than the agent holds a lock on the database for a while."""
    holder = find_database_lock(directory)
    if holder is None or holder.startswith(f"process {agent} "):
        return
    sleep(_SECOND_LOOK_SECONDS)
    if find_database_lock(directory) == holder:
        found = f"{holder} holds a lock on the database: tills get 503, and nothing is recorded"
        yield fault(
            _LOCK, found, "end it, or let it finish; to read, use the commands of the agent"
        )


def check_sqlite_version(version: tuple[int, ...]) -> Check:
    """Judge the SQLite version."""
    found = ".".join(map(str, version))
    if version < _REQUIRED_VERSION:
        required = ".".join(map(str, _REQUIRED_VERSION))
        return fault(_VERSION, found, f"install a Python whose SQLite is {required} or newer")
    if version < _WAL_RESET_FIXED:
        # The bug needs two connections that write or checkpoint; the agent has one.
        found += " (its WAL-reset bug, fixed in 3.51.3, needs a second writer: there is none)"
    return passed(_VERSION, found)


def check_quarantine(directory: Path, now: datetime) -> Check:
    """Warn if there are quarantined databases: being salvaged, or partly unreadable."""
    try:
        names = list_quarantined(directory)
        lost = {name: unreadable_in(directory, name) for name in names}
    except OSError:
        names, lost = [], {}
    if not names:
        return passed(_QUARANTINE, "empty")
    found = ", ".join(_with_age(name, lost[name], now) for name in names)
    if any(count is None for count in lost.values()):
        advice = "keep them: the running agent salvages their captures and then deletes them"
    else:
        advice = "what is readable was delivered; the rest holds addresses: have it deleted"
    return warning(_QUARANTINE, f"damaged databases: {found}", advice)


def _with_age(name: str, lost: int | None, now: datetime) -> str:
    state = "not salvaged and delivered yet" if lost is None else f"unreadable captures: {lost}"
    at = quarantined_at(name)
    if at is None:
        return f"{name} ({state})"
    days = max((now - at).days, 0)
    return f"{name} ({count(days, 'day')} old; {state})"


def _is_damage(error: sqlite3.Error) -> bool:
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    return isinstance(error, OrphanWal) or code in damaged


def _unreadable(reason: str) -> Check:
    advice = "fix the permissions or the disk, then check again"
    return fault(_INTEGRITY, f"the file cannot be read ({reason})", advice)
