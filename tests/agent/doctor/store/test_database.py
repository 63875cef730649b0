"""Integrity, version and quarantine checks; the integrity check changes no file."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.doctor.store.database import (
    check_in_place,
    check_integrity,
    check_quarantine,
    check_sqlite_version,
)
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.lock import storage_lock
from sync.runtime.checks.check import Check, Verdict, passed
from tests.support.agent.damage import killed_store
from tests.support.agent.store import opened, record, session

NOW = datetime(2026, 1, 3, tzinfo=UTC)
PLENTY_SECONDS = 60.0
SOUND = passed("integrity", "SQLite found no damage")


def integrity_of(directory: Path, *, within_seconds: float = PLENTY_SECONDS) -> Check:
    return check_integrity(directory, within_seconds=within_seconds)


def is_damaged(directory: Path) -> bool:
    check = integrity_of(directory)
    assert check.verdict is Verdict.FAULT
    return check.found.startswith("the file is damaged: ")


def traces_in(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        file.name: (file.stat().st_mtime_ns, file.read_bytes())
        for file in directory.iterdir()
        if file.is_file()
    }


def test_missing_database_passes(tmp_path: Path) -> None:
    assert integrity_of(tmp_path) == passed("integrity", "there is no database yet")
    assert list(tmp_path.iterdir()) == []


def test_closed_database_is_sound_and_left_unchanged(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session())
    before = traces_in(tmp_path)

    assert integrity_of(tmp_path) == SOUND
    assert traces_in(tmp_path) == before


def test_agent_whose_database_was_removed_is_not_to_be_stopped(tmp_path: Path) -> None:
    """With only the WAL left, the check of the file would advise a restart: it ends the data."""
    with opened(tmp_path) as store:
        record(store, session("one"))
        assert check_in_place(tmp_path, os.getpid()) is None
        (tmp_path / DATABASE_FILE).unlink()
        check = check_in_place(tmp_path, os.getpid())
    assert check is not None
    assert check.verdict is Verdict.FAULT
    assert "do not stop the agent" in str(check.advice)


def test_process_without_a_database_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "1" / "fd").mkdir(parents=True)
    (tmp_path / "1" / "fd" / "3").symlink_to(tmp_path / "agent.db-wal")
    assert check_in_place(tmp_path, 1, proc=tmp_path) is None
    assert check_in_place(tmp_path, 2, proc=tmp_path) is None


def test_database_of_a_running_agent_is_sound_and_stays_writable(tmp_path: Path) -> None:
    with storage_lock(tmp_path), opened(tmp_path) as store:
        record(store, session("one"))

        assert integrity_of(tmp_path) == SOUND
        record(store, session("two"))


def test_database_of_a_killed_agent_is_sound(tmp_path: Path) -> None:
    assert integrity_of(killed_store(tmp_path)) == SOUND


def test_corrupt_page_is_damage(tmp_path: Path) -> None:
    directory = killed_store(tmp_path)
    content = bytearray((directory / DATABASE_FILE).read_bytes())
    content[2 * 4096 : 3 * 4096] = b"\xff" * 4096
    (directory / DATABASE_FILE).write_bytes(content)

    assert is_damaged(directory)


def test_file_that_is_not_a_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).write_bytes(b"no database" * 1000)

    assert is_damaged(tmp_path)


@pytest.mark.parametrize("is_gone", [False, True])
def test_orphan_wal_is_damage_and_is_left_unchanged(tmp_path: Path, *, is_gone: bool) -> None:
    directory = killed_store(tmp_path)
    wal = directory / f"{DATABASE_FILE}-wal"
    (directory / DATABASE_FILE).write_bytes(b"")
    if is_gone:
        (directory / DATABASE_FILE).unlink()
    before = wal.read_bytes()

    assert is_damaged(directory)
    assert wal.read_bytes() == before


def test_directory_in_place_of_the_database_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).mkdir()

    check = integrity_of(tmp_path)

    assert check.verdict is Verdict.FAULT
    assert check.found.startswith("the file cannot be read (")
    assert "permissions" in check.advice


def test_integrity_check_stops_at_its_time_limit(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as large, large:
        large.execute("CREATE TABLE t (x INTEGER)")
        large.executemany("INSERT INTO t VALUES (?)", ((number,) for number in range(20_000)))

    check = integrity_of(tmp_path, within_seconds=0)

    assert check.verdict is Verdict.WARNING
    assert "--thorough" in check.advice


def test_damage_is_repaired_by_the_next_start(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).write_bytes(b"no database" * 1000)

    assert integrity_of(tmp_path).advice.startswith("start the agent: it moves the file to")
    with storage_lock(tmp_path):
        assert integrity_of(tmp_path).advice.startswith("restart the agent: it moves the file to")


@pytest.mark.parametrize(
    ("version", "verdict", "is_noted"),
    [
        ((3, 36, 9), Verdict.FAULT, False),
        ((3, 37, 0), Verdict.PASS, True),
        ((3, 51, 2), Verdict.PASS, True),
        ((3, 51, 3), Verdict.PASS, False),
    ],
)
def test_old_sqlite_is_a_fault_and_wal_reset_bug_is_only_a_note(
    version: tuple[int, ...], verdict: Verdict, *, is_noted: bool
) -> None:
    check = check_sqlite_version(version)

    assert (check.verdict, "WAL-reset" in check.found) == (verdict, is_noted)


@pytest.mark.parametrize(
    ("files", "state", "advice"),
    [
        ({}, "not salvaged and delivered yet", "keep them: the running agent salvages"),
        ({"delivered": "3\n"}, "unreadable captures: 3", "what is readable was delivered"),
    ],
)
def test_quarantined_database_is_named_with_its_age_and_state(
    tmp_path: Path, files: dict[str, str], state: str, advice: str
) -> None:
    place = tmp_path / "set-aside" / "20260101T000000Z"
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_text(content)

    check = check_quarantine(tmp_path, NOW)

    assert check.verdict is Verdict.WARNING
    assert check.found == f"damaged databases: 20260101T000000Z (2 days old; {state})"
    assert check.advice.startswith(advice)


def test_empty_quarantine_passes(tmp_path: Path) -> None:
    assert check_quarantine(tmp_path, NOW).verdict is Verdict.PASS
