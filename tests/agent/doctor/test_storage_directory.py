"""Permissions and owners of the storage directory, and the holder of its lock."""

import os
from pathlib import Path

import pytest

from agent.doctor.storage_directory import check_directory, nearest_existing
from sync.runtime.checks.check import Check, Verdict

PROC = Path("/proc")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    (tmp_path / "encryption.key").touch(mode=0o600)
    return tmp_path


def check_of(directory: Path) -> Check:
    check = check_directory(directory, directory / "encryption.key")
    assert bool(check.advice) == (check.verdict is not Verdict.PASS)
    return check


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o700, Verdict.PASS), (0o750, Verdict.WARNING), (0o777, Verdict.FAULT)]
)
def test_access_of_other_users_is_a_warning_and_write_access_a_fault(
    directory: Path, mode: int, verdict: Verdict
) -> None:
    directory.chmod(mode)

    check = check_of(directory)

    assert check.verdict is verdict
    assert check.advice == ("" if verdict is Verdict.PASS else f"chmod 700 {directory}")


def test_key_readable_by_other_users_is_a_fault(directory: Path) -> None:
    (directory / "encryption.key").chmod(0o640)

    check = check_of(directory)

    assert check.verdict is Verdict.FAULT
    key = directory / "encryption.key"
    assert check.advice == f"chown {key.owner()}: {key} && chmod 600 {key}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_file_of_another_user_is_a_fault(directory: Path) -> None:
    (directory / "agent.db").touch()
    os.chown(directory / "agent.db", 54_321, -1)

    check = check_of(directory)

    assert check.verdict is Verdict.FAULT
    assert check.found.endswith("but other users own agent.db")
    assert check.advice == f"change their owner: chown -R root: {directory}"


def test_missing_directory_is_created_at_the_first_start(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"

    assert check_of(deep).verdict is Verdict.PASS
    assert "is created at the first start" in check_of(deep).found
    assert nearest_existing(deep) == tmp_path


def test_file_in_place_of_the_directory_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    check = check_of(tmp_path / "file")

    assert (check.verdict, check.found) == (Verdict.FAULT, f"{tmp_path}/file is not a directory")


@pytest.mark.parametrize(
    ("name", "advice"), [("absent", "create it"), ("", "run doctor as that user: sudo -u ")]
)
def test_directory_that_this_user_may_not_write_is_a_fault(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, advice: str
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)

    check = check_of(directory / name)

    assert check.verdict is Verdict.FAULT
    assert check.advice.startswith(advice)


def test_directory_that_any_user_could_replace_is_a_fault(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "state").mkdir(parents=True)
    shared.chmod(0o777)

    check = check_directory(shared / "state", tmp_path / "key")

    assert check.verdict is Verdict.FAULT
    assert f"chmod o-w {shared}" in check.found
