"""Space: limits that refuse in time, and a reserve for those who make room."""

from contextlib import closing
from pathlib import Path

import pytest

from agent.store.files import disk_space as space
from agent.store.files.disk_space import BALLAST_FILE, Limits, Space
from agent.store.files.storage_errors import StorageFull
from tests.agent.store.parts import opener, record, session

MIB = 1024 * 1024
FREE = 100 * MIB


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the free bytes that the disk is said to have, to be changed at [0]."""
    said = [FREE]
    monkeypatch.setattr(space, "free_bytes", lambda _directory: said[0])
    return said


def limited(
    directory: Path, *, max_bytes: int = 2**40, min_free_bytes: int = 0, ballast_bytes: int = 0
) -> Space:
    """Return the space of a directory with these limits."""
    return Space(directory, Limits(max_bytes, min_free_bytes, ballast_bytes))


def test_captures_are_refused_from_max_bytes_on(tmp_path: Path) -> None:
    room = limited(tmp_path, max_bytes=20 * MIB)
    room.require_room(20 * MIB - 1)
    with pytest.raises(StorageFull, match=r"holds 20\.0 MiB, \[storage\] max_bytes is 20\.0 MiB"):
        room.require_room(20 * MIB)


def test_captures_are_refused_below_min_free_bytes(tmp_path: Path, free: list[int]) -> None:
    room = limited(tmp_path, min_free_bytes=FREE)
    room.require_room(0)
    free[0] = FREE - 1
    with pytest.raises(StorageFull, match="min_free_bytes"):
        room.require_room(0)


def test_the_ballast_is_of_real_blocks_and_given_up_once(tmp_path: Path) -> None:
    room = limited(tmp_path, ballast_bytes=MIB)
    room.keep_ballast()
    assert (tmp_path / BALLAST_FILE).stat().st_blocks * 512 >= MIB
    assert room.give_up_ballast()
    assert not (tmp_path / BALLAST_FILE).exists()
    assert not room.give_up_ballast()


def test_no_ballast_is_laid_where_there_is_little_room(tmp_path: Path, free: list[int]) -> None:
    room = limited(tmp_path, min_free_bytes=10 * MIB, ballast_bytes=MIB)
    free[0] = 12 * MIB - 1
    room.keep_ballast()
    assert not (tmp_path / BALLAST_FILE).exists()
    free[0] = 12 * MIB
    room.keep_ballast()
    assert (tmp_path / BALLAST_FILE).exists()


def test_a_ballast_of_none_is_none(tmp_path: Path) -> None:
    limited(tmp_path).keep_ballast()
    assert not (tmp_path / BALLAST_FILE).exists()


def test_half_a_ballast_is_made_whole(tmp_path: Path) -> None:
    """The agent was killed, or the disk was full, in the middle of laying it."""
    (tmp_path / BALLAST_FILE).write_bytes(bytes(MIB // 2))
    limited(tmp_path, ballast_bytes=MIB).keep_ballast()
    assert (tmp_path / BALLAST_FILE).stat().st_size == MIB


def test_captures_do_not_eat_what_the_ballast_gave_back(tmp_path: Path, free: list[int]) -> None:
    """They are taken again when it could be laid down again."""
    room = limited(tmp_path, ballast_bytes=MIB)
    room.keep_ballast()
    free[0] = 0
    room.require_room(0)
    room.give_up_ballast()
    free[0] = MIB
    with pytest.raises(StorageFull, match="ballast"):
        room.require_room(0)
    free[0] = 2 * MIB
    room.require_room(0)


def test_a_full_store_refuses_captures_and_still_runs_chores(tmp_path: Path) -> None:
    """Acknowledging and purging are what makes room again."""
    with closing(opener(tmp_path, limits=Limits(1, 0, 0)).open()) as store:
        with pytest.raises(StorageFull):
            record(store, session())
        store.run(
            lambda connection: connection.execute(
                "INSERT INTO destination (name, watermark) VALUES ('central', 1)"
            )
        )


def test_a_store_whose_limit_was_reached_takes_captures_once_there_is_room(
    tmp_path: Path, free: list[int]
) -> None:
    with closing(opener(tmp_path, limits=Limits(2**40, MIB, 0)).open()) as store:
        free[0] = 0
        with pytest.raises(StorageFull):
            record(store, session())
        free[0] = FREE
        record(store, session())
