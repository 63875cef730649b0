"""Frames of a WAL are read behind a damaged one, and of the newest log only."""

from contextlib import closing
from pathlib import Path

import pytest

from agent.store.recovery.frames import FRAME_BYTES, WalReader
from tests.support.agent.damage import WAL, killed_store

_HEADER_BYTES = 32


@pytest.fixture(scope="module")
def wal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the content of a WAL."""
    return (killed_store(tmp_path_factory.mktemp("killed")) / WAL).read_bytes()


def intact_in(content: bytes | bytearray, path: Path) -> list[bool]:
    path.write_bytes(content)
    with closing(WalReader(path)) as reader:
        return [reader.is_intact(frame.place) for frame in reader.frames]


def test_all_frames_of_an_undamaged_wal_are_intact(wal: bytes, tmp_path: Path) -> None:
    intact = intact_in(wal, tmp_path / WAL)
    used = len(wal.rstrip(b"\0")) - _HEADER_BYTES
    assert len(intact) == -(-used // FRAME_BYTES)
    assert all(intact)


def test_only_the_damaged_frame_is_not_intact(wal: bytes, tmp_path: Path) -> None:
    damaged = bytearray(wal)
    damaged[_HEADER_BYTES + 5 * FRAME_BYTES + 1_000] ^= 1
    intact = intact_in(damaged, tmp_path / WAL)
    assert [place for place, is_intact in enumerate(intact) if not is_intact] == [5]


def test_frames_are_read_without_the_header_of_the_file(wal: bytes, tmp_path: Path) -> None:
    intact = intact_in(bytes(_HEADER_BYTES) + wal[_HEADER_BYTES:], tmp_path / WAL)
    # The checksum of the first one continues that of the header.
    assert (intact[0], all(intact[1:])) == (False, True)


def test_frames_of_an_older_log_are_not_read(wal: bytes, tmp_path: Path) -> None:
    older = bytearray(wal[_HEADER_BYTES : _HEADER_BYTES + FRAME_BYTES])
    older[8:16] = b"\1" * 8
    used = len(intact_in(wal, tmp_path / WAL))
    end = _HEADER_BYTES + used * FRAME_BYTES
    content = wal[:end] + older + wal[end + FRAME_BYTES :]
    assert len(intact_in(content, tmp_path / WAL)) == used
