"""Disk space: limits for captures, and a reserve for settling and purging."""

from contextlib import closing
from pathlib import Path

import pytest

from agent.store.files import disk_space as space
from agent.store.files.disk_space import BALLAST_FILE, DiskSpace, SpaceLimits
from agent.store.files.storage_errors import StorageFullError
from tests.support.agent.store import opener, record, session

MIB = 1024 * 1024
FREE = 100 * MIB


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the simulated free bytes of the disk; change them at [0]."""
    said = [FREE]
    monkeypatch.setattr(space, "free_bytes", lambda _directory: said[0])
    return said


def limited(
    directory: Path, *, max_bytes: int = 2**40, min_free_bytes: int = 0, ballast_bytes: int = 0
) -> DiskSpace:
    """Return the space of a directory with these limits."""
    return DiskSpace(directory, SpaceLimits(max_bytes, min_free_bytes, ballast_bytes))


def test_captures_are_rejected_at_max_bytes(tmp_path: Path) -> None:
    room = limited(tmp_path, max_bytes=20 * MIB)
    room.require_room(20 * MIB - 1)
    with pytest.raises(
        StorageFullError, match=r"has 20\.0 MiB, \[storage\] max_bytes is 20\.0 MiB"
    ):
        room.require_room(20 * MIB)


def test_captures_are_rejected_below_min_free_bytes(tmp_path: Path, free: list[int]) -> None:
    room = limited(tmp_path, min_free_bytes=FREE)
    room.require_room(0)
    free[0] = FREE - 1
    with pytest.raises(StorageFullError, match="min_free_bytes"):
        room.require_room(0)


def test_ballast_has_allocated_blocks_and_is_freed_once(tmp_path: Path) -> None:
    room = limited(tmp_path, ballast_bytes=MIB)
    room.create_ballast()
    assert (tmp_path / BALLAST_FILE).stat().st_blocks * 512 >= MIB
    assert room.free_ballast()
    assert not (tmp_path / BALLAST_FILE).exists()
    assert not room.free_ballast()


def test_no_ballast_is_created_when_space_is_short(tmp_path: Path, free: list[int]) -> None:
    room = limited(tmp_path, min_free_bytes=10 * MIB, ballast_bytes=MIB)
    free[0] = 12 * MIB - 1
    room.create_ballast()
    assert not (tmp_path / BALLAST_FILE).exists()
    free[0] = 12 * MIB
    room.create_ballast()
    assert (tmp_path / BALLAST_FILE).exists()


def test_ballast_of_zero_bytes_creates_no_file(tmp_path: Path) -> None:
    limited(tmp_path).create_ballast()
    assert not (tmp_path / BALLAST_FILE).exists()


def test_incomplete_ballast_is_completed(tmp_path: Path) -> None:
    """The agent was killed, or the disk was full, while it was being created."""
    (tmp_path / BALLAST_FILE).write_bytes(bytes(MIB // 2))
    limited(tmp_path, ballast_bytes=MIB).create_ballast()
    assert (tmp_path / BALLAST_FILE).stat().st_size == MIB


def test_captures_do_not_use_the_space_freed_by_the_ballast(
    tmp_path: Path, free: list[int]
) -> None:
    """They are accepted again once the ballast could be recreated."""
    room = limited(tmp_path, ballast_bytes=MIB)
    room.create_ballast()
    free[0] = 0
    room.require_room(0)
    room.free_ballast()
    free[0] = MIB
    with pytest.raises(StorageFullError, match="ballast"):
        room.require_room(0)
    free[0] = 2 * MIB
    room.require_room(0)


def test_full_store_rejects_captures_but_runs_jobs(tmp_path: Path) -> None:
    """Settling and purging free space again."""
    with closing(opener(tmp_path, limits=SpaceLimits(1, 0, 0)).open()) as store:
        with pytest.raises(StorageFullError):
            record(store, session())
        store.run(
            lambda connection: connection.execute(
                "INSERT INTO destination (name, watermark) VALUES ('central', 1)"
            )
        )


def test_captures_are_accepted_again_when_there_is_space(tmp_path: Path, free: list[int]) -> None:
    with closing(opener(tmp_path, limits=SpaceLimits(2**40, MIB, 0)).open()) as store:
        free[0] = 0
        with pytest.raises(StorageFullError):
            record(store, session())
        free[0] = FREE
        record(store, session())
