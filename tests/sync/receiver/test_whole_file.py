"""Atomic file writes."""

from pathlib import Path

import pytest

from sync.receiver.atomic_file import whole_file


def test_old_file_remains_until_the_new_one_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"old")

    with whole_file(file) as writing:
        writing.write(b"new")
        before = file.read_bytes()

    assert (before, file.read_bytes()) == (b"old", b"new")


def break_off(file: Path) -> None:
    with whole_file(file) as writing:
        writing.write(b"half")
        raise KeyboardInterrupt


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"old")

    with pytest.raises(KeyboardInterrupt):
        break_off(file)

    assert [place.read_bytes() for place in tmp_path.iterdir()] == [b"old"]


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "out"

    with whole_file(file):
        pass

    assert file.stat().st_mode & 0o777 == 0o600
