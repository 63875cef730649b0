"""Atomic file writes: old content or new, after any failure."""

import os
from pathlib import Path

import pytest

from agent.store.files.atomic_write import make_directory, write_durably


def test_new_content_replaces_the_old_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_durably(file, b"old", mode=0o600)
    write_durably(file, b"new", mode=0o600)
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_file_has_the_requested_mode(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"", mode=0o600)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_content_is_synced_before_the_rename_and_the_directory_after_it(
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
def test_failed_write_keeps_the_old_content(
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


def test_created_directory_and_its_parents_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt is worthless in a directory that a power cut removes."""
    synced: list[Path] = []
    monkeypatch.setattr("agent.store.files.atomic_write.sync_directory", synced.append)
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert sorted(synced) == [tmp_path, tmp_path / "a"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
