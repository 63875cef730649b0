"""Checks of free disk space and database size."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.config.settings import StorageSettings
from agent.doctor.disk_space import check_database_size, check_free_disk, check_space
from sync.runtime.checks.check import Verdict

MIB = 1024**2


def storage_in(directory: Path) -> StorageSettings:
    return StorageSettings(
        directory=directory, max_bytes=100 * MIB, min_free_bytes=64 * MIB, ballast_bytes=MIB
    )


@pytest.fixture
def free_mib(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """Make the disk of any directory have so many MiB free."""
    mib = int(request.param)
    for module in ("agent.doctor", "agent.store.files"):
        monkeypatch.setattr(f"{module}.disk_space.free_bytes", lambda _: mib * MIB)
    return mib


@pytest.mark.parametrize(
    ("free_mib", "verdict"),
    [(195, Verdict.PASS), (194, Verdict.WARNING), (67, Verdict.WARNING), (66, Verdict.FAULT)],
    indirect=["free_mib"],
)
def test_full_disk_is_a_fault_and_nearly_full_a_warning(
    tmp_path: Path, free_mib: int, verdict: Verdict
) -> None:
    check = check_free_disk(storage_in(tmp_path))

    assert (check.verdict, check.found) == (verdict, f"{free_mib}.0 MiB free, 64.0 MiB reserved")


def test_unmeasurable_disk_is_one_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("agent.doctor.disk_space.free_bytes", fail)

    (check,) = check_space(storage_in(tmp_path))

    assert check.verdict is Verdict.FAULT
    assert check.found == "it cannot be measured (Input/output error)"


@pytest.mark.parametrize(
    ("size_mib", "verdict"),
    [(80, Verdict.PASS), (81, Verdict.WARNING), (100, Verdict.FAULT)],
)
def test_database_size_with_its_wal_is_compared_with_the_limit(
    tmp_path: Path, size_mib: int, verdict: Verdict
) -> None:
    for name, length in (("agent.db", size_mib - 30), ("agent.db-wal", 30)):
        with (tmp_path / name).open("wb") as sparse:
            sparse.truncate(length * MIB)

    check = check_database_size(storage_in(tmp_path))

    assert check.verdict is verdict
    assert check.found.startswith(f"{size_mib}.0 MiB of 100.0 MiB")


def test_free_pages_inside_the_database_do_not_count(tmp_path: Path) -> None:
    """A purge frees pages in the file, which does not shrink."""
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE filler AS SELECT zeroblob(2000000) AS zeros")
        full = check_database_size(storage_in(tmp_path)).found
        connection.execute("DROP TABLE filler")
    assert full.startswith("1.9 MiB of")
    assert check_database_size(storage_in(tmp_path)).found.startswith("0.0 MiB of")


def test_fresh_machine_has_an_empty_database(tmp_path: Path) -> None:
    assert check_database_size(storage_in(tmp_path / "absent")).verdict is Verdict.PASS
