"""Checks of free disk space and database size."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.config.settings import StorageSettings
from agent.doctor.check import Verdict
from agent.doctor.disk_space import SpaceFacts, check_database_size, check_free_disk, measure_space

MIB = 1024**2
ROOM = SpaceFacts(500 * MIB, 64 * MIB, 10 * MIB, 100 * MIB, has_room=True, has_ample_room=True)
EXABYTE = 1024**6


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (ROOM, Verdict.PASS),
        (replace(ROOM, has_ample_room=False), Verdict.WARNING),
        (replace(ROOM, has_room=False, has_ample_room=False), Verdict.FAULT),
    ],
)
def test_full_disk_is_a_fault_and_nearly_full_a_warning(
    facts: SpaceFacts, verdict: Verdict
) -> None:
    check = check_free_disk(facts)

    assert (check.verdict, check.found) == (verdict, "500.0 MiB free, 64.0 MiB reserved")


@pytest.mark.parametrize(
    ("size_bytes", "verdict"),
    [(80 * MIB, Verdict.PASS), (81 * MIB, Verdict.WARNING), (100 * MIB, Verdict.FAULT)],
)
def test_database_size_verdict_depends_on_distance_to_limit(
    size_bytes: int, verdict: Verdict
) -> None:
    assert check_database_size(replace(ROOM, database_bytes=size_bytes)).verdict is verdict


@pytest.mark.parametrize(("to_be_left", "has_room"), [(0, True), (EXABYTE, False)])
def test_free_space_is_measured_as_the_store_does(
    tmp_path: Path, to_be_left: int, *, has_room: bool
) -> None:
    storage = StorageSettings(directory=tmp_path, min_free_bytes=to_be_left, ballast_bytes=0)

    assert measure_space(storage).has_room is has_room


def test_database_size_includes_the_wal(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(bytes(1000))
    (tmp_path / "agent.db-wal").write_bytes(bytes(500))

    assert measure_space(StorageSettings(directory=tmp_path)).database_bytes == 1500
