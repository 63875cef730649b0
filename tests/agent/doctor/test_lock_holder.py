"""Lookup of the process that holds the directory lock."""

import os
from pathlib import Path

from agent.doctor.storage_directory import find_lock_holder
from agent.store.files.lock import LOCK_FILE, StoreLock

PROC = Path("/proc")


def test_holder_of_the_lock_is_found(tmp_path: Path) -> None:
    with StoreLock(tmp_path):
        assert find_lock_holder(tmp_path, PROC) == os.getpid()


def test_former_holder_is_not_returned(tmp_path: Path) -> None:
    with StoreLock(tmp_path):
        pass

    assert (tmp_path / LOCK_FILE).exists()
    assert find_lock_holder(tmp_path, PROC) is None


def test_lock_of_another_directory_is_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    with StoreLock(tmp_path / "one"):
        (tmp_path / "two" / LOCK_FILE).write_text(f"process {os.getpid()}\n")

        assert find_lock_holder(tmp_path / "two", PROC) is None


def test_directory_without_a_valid_lock_file_has_no_holder(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(b"process \xff")

    assert find_lock_holder(tmp_path, PROC) is None
    assert find_lock_holder(tmp_path / "absent", PROC) is None
