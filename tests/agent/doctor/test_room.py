"""Room on the disk and within the limits."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.config.settings import StorageSettings
from agent.doctor.check import Verdict
from agent.doctor.disk_space import RoomFacts, judge_database_size, judge_free_disk, look_at_room

MIB = 1024**2
ROOM = RoomFacts(500 * MIB, 64 * MIB, 10 * MIB, 100 * MIB, has_room=True, has_ample_room=True)
EXABYTE = 1024**6


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (ROOM, Verdict.PASS),
        (replace(ROOM, has_ample_room=False), Verdict.WARNING),
        (replace(ROOM, has_room=False, has_ample_room=False), Verdict.FAULT),
    ],
)
def test_disk_without_room_is_a_fault_and_with_little_a_warning(
    facts: RoomFacts, verdict: Verdict
) -> None:
    check = judge_free_disk(facts)

    assert (check.verdict, check.found) == (verdict, "500.0 MiB free, 64.0 MiB to be left")


@pytest.mark.parametrize(
    ("size_bytes", "verdict"),
    [(80 * MIB, Verdict.PASS), (81 * MIB, Verdict.WARNING), (100 * MIB, Verdict.FAULT)],
)
def test_database_near_its_limit_is_found(size_bytes: int, verdict: Verdict) -> None:
    assert judge_database_size(replace(ROOM, database_bytes=size_bytes)).verdict is verdict


@pytest.mark.parametrize(("to_be_left", "has_room"), [(0, True), (EXABYTE, False)])
def test_room_is_what_the_store_would_find(
    tmp_path: Path, to_be_left: int, *, has_room: bool
) -> None:
    storage = StorageSettings(directory=tmp_path, min_free_bytes=to_be_left, ballast_bytes=0)

    assert look_at_room(storage).has_room is has_room


def test_database_is_measured_with_its_wal(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(bytes(1000))
    (tmp_path / "agent.db-wal").write_bytes(bytes(500))

    assert look_at_room(StorageSettings(directory=tmp_path)).database_bytes == 1500
