"""Checks of the database: SQLite version, file integrity, quarantined databases."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from agent.doctor.check import Check, fault, passed, warning
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.read_only import OrphanWal, require_no_orphan_wal
from agent.store.recovery.integrity_check import inspect_database, is_interrupted
from agent.store.recovery.quarantine import list_quarantined

_VERSION, _INTEGRITY, _ASIDE = "SQLite", "integrity", "set aside"
_NEEDED = (3, 37, 0)  # STRICT tables
_WAL_RESET_MENDED = (3, 51, 3)
_MOST_MESSAGES = 3
_QUICK_CHECK = f"PRAGMA quick_check({_MOST_MESSAGES})"


class State(Enum):
    """Result of the integrity check; `UNFINISHED` means that it timed out."""

    ABSENT = auto()
    SOUND = auto()
    UNFINISHED = auto()
    DAMAGED = auto()
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True)
class Integrity:
    """Result with SQLite's message in `words`; `is_owned` if an agent holds the directory."""

    state: State
    words: str = ""
    is_owned: bool = False


def look_at_integrity(directory: Path, *, within_seconds: float, is_owned: bool) -> Integrity:
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


def judge_integrity(integrity: Integrity, within_seconds: float) -> Check:
    """Judge the integrity of the file."""
    match integrity.state:
        case State.ABSENT:
            return passed(_INTEGRITY, "there is no database yet")
        case State.SOUND:
            return passed(_INTEGRITY, "SQLite finds no fault in the file")
        case State.UNFINISHED:
            found = f"no fault in {within_seconds:.0f} s; the file is too large to look at whole"
            return warning(_INTEGRITY, found, "look again at night, with --thorough")
        case State.UNREADABLE:
            advice = "see to the rights and the disk, then look again"
            return fault(_INTEGRITY, f"the file cannot be read ({integrity.words})", advice)
        case State.DAMAGED:
            start = "restart the agent" if integrity.is_owned else "start the agent"
            advice = f"{start}: it sets the file aside whole and serves from a fresh one"
            return fault(_INTEGRITY, f"the file is damaged: {integrity.words}", advice)


def judge_sqlite(version: tuple[int, ...]) -> Check:
    """Judge the SQLite version."""
    found = ".".join(map(str, version))
    if version < _NEEDED:
        needed = ".".join(map(str, _NEEDED))
        return fault(_VERSION, found, f"install a Python whose SQLite is {needed} or newer")
    if version < _WAL_RESET_MENDED:
        # The bug needs two connections that write or checkpoint; the agent has one.
        found += " (its WAL-reset bug, mended in 3.51.3, needs a second writer: there is none)"
    return passed(_VERSION, found)


def look_at_set_aside(directory: Path) -> list[str]:
    """Return the names of quarantined databases; empty if they cannot be listed."""
    try:
        return list_quarantined(directory)
    except OSError:
        return []


def judge_set_aside(names: Sequence[str]) -> Check:
    """Judge if quarantined databases need attention."""
    if not names:
        return passed(_ASIDE, "no damaged database")
    advice = "keep them: what they hold and was not delivered yet is in them alone"
    return warning(_ASIDE, f"damaged databases: {', '.join(names)}", advice)


def _state_of(error: sqlite3.Error) -> State:
    if is_interrupted(error):
        return State.UNFINISHED
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
    is_damage = isinstance(error, OrphanWal) or code in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
    return State.DAMAGED if is_damage else State.UNREADABLE
