"""Exchanged pages are damage of the file; an impossible value is damage of its row only."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from agent.store.files.storage_errors import StorageDamagedError
from agent.store.outbox.damage import StructureCheck
from tests.support.agent.store import change, opened, record, session
from tests.support.faults.damaged_database import build_killed_store, damaged_copy

_SWAPPED_ROOT_OF_THE_SESSIONS = 146


def test_exchanged_pages_are_damage_of_the_file(tmp_path: Path) -> None:
    """Every event was sent as damaged: the page of the sessions is one of the events."""
    state = tmp_path / "state"
    damaged_copy(build_killed_store(tmp_path), _SWAPPED_ROOT_OF_THE_SESSIONS, state)
    with (
        closing(sqlite3.connect(state / DATABASE_FILE)) as connection,
        # SQLite fails on the way, or finds it; both quarantine the file.
        pytest.raises((StorageDamagedError, sqlite3.DatabaseError)),
    ):
        StructureCheck().require_sound(connection, 1)


def test_impossible_value_is_damage_of_its_row(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"))
    change(
        tmp_path,
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'event'",
    )
    change(tmp_path, "UPDATE event SET body = NULL")
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        StructureCheck().require_sound(connection, 1)
