"""Small files: the old content or the new, whatever happens in between."""

import os
from pathlib import Path

import pytest

from agent.store.files.atomic_write import make_directory, write_durably


def test_the_new_content_replaces_the_old_and_nothing_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_durably(file, b"old", mode=0o600)
    write_durably(file, b"new", mode=0o600)
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_the_mode_is_the_one_asked_for(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"", mode=0o600)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_the_content_is_synced_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noting_sync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def noting_replace(source: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    write_durably(tmp_path / "file", b"content", mode=0o600)
    assert steps == ["sync file.new", "rename to file", f"sync {tmp_path.name}"]


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    write_durably(tmp_path / "file", b"old", mode=0o600)
    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="No space"):
        write_durably(tmp_path / "file", b"new", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_directory_that_is_made_is_on_the_disk_with_all_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt is worth nothing in a directory that a power cut takes away."""
    synced: list[Path] = []
    monkeypatch.setattr("agent.store.files.atomic_write.sync_directory", synced.append)
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert sorted(synced) == [tmp_path, tmp_path / "a"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
