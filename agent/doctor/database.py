"""Checks of the database: SQLite version, file integrity, quarantined databases."""

import sqlite3
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from agent.doctor.check import Check, fault, passed, warning
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.inspection import inspect_database, is_interrupted
from agent.store.db.wal import OrphanWal, require_no_orphan_wal
from agent.store.files.quarantine import list_quarantined

_VERSION, _INTEGRITY, _QUARANTINE = "SQLite", "integrity", "quarantine"
_REQUIRED_VERSION = (3, 37, 0)  # STRICT tables
_WAL_RESET_FIXED = (3, 51, 3)
_MAX_MESSAGES = 3
_QUICK_CHECK = f"PRAGMA quick_check({_MAX_MESSAGES})"


class State(Enum):
    """Result of the integrity check; `UNFINISHED` means that it timed out."""

    ABSENT = auto()
    SOUND = auto()
    UNFINISHED = auto()
    DAMAGED = auto()
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True)
class Integrity:
    """Result with SQLite's message in `message`; `is_owned` if an agent holds the directory."""

    state: State
    message: str = ""
    is_owned: bool = False


def run_quick_check(directory: Path, *, within_seconds: float, is_owned: bool) -> Integrity:
    """Run `quick_check` on the database with a time limit."""
    try:
        require_no_orphan_wal(directory / DATABASE_FILE)
        if not (directory / DATABASE_FILE).exists():
            return Integrity(State.ABSENT)
        with inspect_database(
            directory, within_seconds=within_seconds, is_owned=is_owned
        ) as connection:
            found = [str(row[0]) for row in connection.execute(_QUICK_CHECK)]
    except sqlite3.Error as error:
        return Integrity(_state_of(error), str(error), is_owned)
    except OSError as error:
        return Integrity(State.UNREADABLE, error.strerror or "", is_owned)
    if found == ["ok"]:
        return Integrity(State.SOUND)
    return Integrity(State.DAMAGED, "; ".join(found), is_owned)


def check_integrity(integrity: Integrity, within_seconds: float) -> Check:
    """Judge the integrity of the file."""
    match integrity.state:
        case State.ABSENT:
            return passed(_INTEGRITY, "there is no database yet")
        case State.SOUND:
            return passed(_INTEGRITY, "SQLite found no damage")
        case State.UNFINISHED:
            found = f"no damage found in {within_seconds:.0f} s, but the check is incomplete"
            return warning(_INTEGRITY, found, "check again at night, with --thorough")
        case State.UNREADABLE:
            advice = "fix the permissions or the disk, then check again"
            return fault(_INTEGRITY, f"the file cannot be read ({integrity.message})", advice)
        case State.DAMAGED:
            start = "restart the agent" if integrity.is_owned else "start the agent"
            advice = f"{start}: it moves the file to quarantine and starts with a new one"
            return fault(_INTEGRITY, f"the file is damaged: {integrity.message}", advice)


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


def check_quarantine(directory: Path) -> Check:
    """Warn if there are quarantined databases."""
    try:
        names = list_quarantined(directory)
    except OSError:
        names = []
    if not names:
        return passed(_QUARANTINE, "empty")
    advice = "keep them: they hold the only copy of captures that were not delivered"
    return warning(_QUARANTINE, f"damaged databases: {', '.join(names)}", advice)


def _state_of(error: sqlite3.Error) -> State:
    if is_interrupted(error):
        return State.UNFINISHED
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
    is_damage = isinstance(error, OrphanWal) or code in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
    return State.DAMAGED if is_damage else State.UNREADABLE
