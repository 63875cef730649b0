"""Atomic file writes: old content or new, after any failure."""

import os
from pathlib import Path

import pytest

from sync.runtime.files.atomic_file import atomic_file, make_directory


def write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)


def test_old_content_remains_until_the_new_one_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write(file, b"old")

    with atomic_file(file) as writing:
        writing.write(b"new")
        before = file.read_bytes()

    assert (before, file.read_bytes()) == (b"old", b"new")
    assert list(tmp_path.iterdir()) == [file]


def test_link_at_the_path_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    """As another user could plant one in a directory that all may write to."""
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "file").symlink_to(tmp_path / "target")

    write(tmp_path / "file", b"export")

    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    write(tmp_path / "file", b"")

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_content_is_synced_before_the_rename_and_the_directory_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noting_sync(descriptor: int) -> None:
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("sync directory" if synced == tmp_path else "sync content")
        sync(descriptor)

    def noting_replace(source: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    write(tmp_path / "file", b"content")

    assert steps == ["sync content", "rename to file", "sync directory"]


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_failed_write_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    write(tmp_path / "file", b"old")
    monkeypatch.setattr(failing, fail)

    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "file", b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_interrupted_write_keeps_the_old_content(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_file(tmp_path / "file") as writing:
            writing.write(b"half")
            raise KeyboardInterrupt

    write(tmp_path / "file", b"old")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_created_directory_and_its_parents_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt is worthless in a directory that a power cut removes."""
    synced: list[Path] = []
    monkeypatch.setattr("sync.runtime.files.atomic_file.sync_directory", synced.append)

    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")

    assert sorted(synced) == [tmp_path, tmp_path / "a"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
