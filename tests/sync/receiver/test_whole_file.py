"""A file that is written as a whole or not at all."""

from pathlib import Path

import pytest

from sync.receiver.atomic_file import whole_file


def test_until_it_is_whole_the_old_one_stands(tmp_path: Path) -> None:
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


def test_what_breaks_off_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"old")

    with pytest.raises(KeyboardInterrupt):
        break_off(file)

    assert [place.read_bytes() for place in tmp_path.iterdir()] == [b"old"]


def test_it_is_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "out"

    with whole_file(file):
        pass

    assert file.stat().st_mode & 0o777 == 0o600
