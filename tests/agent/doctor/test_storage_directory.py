"""Permissions and owners of the storage directory, and the holder of its lock."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.doctor.check import Verdict
from agent.doctor.storage_directory import (
    DirectoryFacts,
    DirectoryState,
    check_directory,
    find_lock_holder,
    nearest_existing,
    read_directory,
)
from agent.store.files.lock import LOCK_FILE, storage_lock

PROC = Path("/proc")
GOOD = DirectoryFacts(Path("/data"), DirectoryState.EXISTS, owner="pos", mode=0o700, is_usable=True)


@pytest.mark.parametrize(
    ("facts", "verdict", "advice"),
    [
        (GOOD, Verdict.PASS, ""),
        (DirectoryFacts(Path("/data"), DirectoryState.CREATABLE), Verdict.PASS, ""),
        (DirectoryFacts(Path("/data"), DirectoryState.NOT_CREATABLE), Verdict.FAULT, "create it"),
        (
            DirectoryFacts(Path("/data"), DirectoryState.NOT_A_DIRECTORY),
            Verdict.FAULT,
            "to a directory",
        ),
        (replace(GOOD, is_usable=False), Verdict.FAULT, "sudo -u pos loyalty-agent doctor"),
        (replace(GOOD, foreign=("agent.db",)), Verdict.FAULT, "chown -R pos: /data"),
        (replace(GOOD, open_key=Path("/k")), Verdict.FAULT, "chmod 600 /k"),
        (replace(GOOD, mode=0o777), Verdict.FAULT, "chmod 700 /data"),
        (replace(GOOD, mode=0o750), Verdict.WARNING, "chmod 700 /data"),
    ],
)
def test_each_directory_state_has_verdict_and_advice(
    facts: DirectoryFacts, verdict: Verdict, advice: str
) -> None:
    check = check_directory(facts)

    assert check.verdict is verdict
    assert bool(check.advice) == (verdict is not Verdict.PASS)
    assert advice in check.advice


def test_directory_of_this_user_is_read_with_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "encryption.key"
    key.touch(mode=0o600)

    facts = read_directory(tmp_path, key)

    assert (facts.state, facts.mode, facts.is_usable) == (DirectoryState.EXISTS, 0o700, True)
    assert (facts.foreign, facts.open_key) == ((), None)


def test_key_readable_by_other_users_is_found(tmp_path: Path) -> None:
    key = tmp_path / "encryption.key"
    key.touch()
    key.chmod(0o640)

    assert read_directory(tmp_path, key).open_key == key


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_file_of_another_user_is_found(tmp_path: Path) -> None:
    (tmp_path / "agent.db").touch()
    os.chown(tmp_path / "agent.db", 54_321, -1)

    assert read_directory(tmp_path, tmp_path / "key").foreign == ("agent.db",)


def test_missing_directory_is_distinguished_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    deep = read_directory(tmp_path / "a" / "b", tmp_path / "key")
    file = read_directory(tmp_path / "file", tmp_path / "key")

    assert (deep.state, file.state) == (DirectoryState.CREATABLE, DirectoryState.NOT_A_DIRECTORY)
    assert nearest_existing(tmp_path / "a" / "b") == tmp_path


def test_holder_of_the_lock_is_found(tmp_path: Path) -> None:
    with storage_lock(tmp_path):
        assert find_lock_holder(tmp_path, PROC) == os.getpid()


def test_former_holder_is_not_returned(tmp_path: Path) -> None:
    with storage_lock(tmp_path):
        pass

    assert (tmp_path / LOCK_FILE).exists()
    assert find_lock_holder(tmp_path, PROC) is None


def test_lock_of_another_directory_is_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    with storage_lock(tmp_path / "one"):
        (tmp_path / "two" / LOCK_FILE).write_text(f"process {os.getpid()}\n")

        assert find_lock_holder(tmp_path / "two", PROC) is None


def test_directory_without_a_valid_lock_file_has_no_holder(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(b"process \xff")

    assert find_lock_holder(tmp_path, PROC) is None
    assert find_lock_holder(tmp_path / "absent", PROC) is None
