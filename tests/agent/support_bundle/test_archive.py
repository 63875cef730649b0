"""Archive: mode 0600, atomic, reproducible."""

import stat
import tarfile
from pathlib import Path

import pytest

from agent.support_bundle.bundle import write_bundle
from tests.agent.support_bundle.unpacking import members_of

MEMBERS = {"one.txt": b"1\n", "two.json": b"{}"}


def test_members_round_trip(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.tar.gz", MEMBERS, at_seconds=1_700_000_000)

    assert members_of(tmp_path / "b.tar.gz") == MEMBERS
    assert [file.name for file in tmp_path.iterdir()] == ["b.tar.gz"]


def test_bundle_has_mode_0600(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.tar.gz", MEMBERS, at_seconds=0)

    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600


def test_bundle_contains_no_user_name_and_no_temporary_file_name(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.tar.gz", MEMBERS, at_seconds=1_700_000_000)

    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        about = {(one.uid, one.uname, one.mtime, one.mode) for one in archive.getmembers()}
    assert about == {(0, "", 1_700_000_000, 0o600)}
    assert b"b.tar" not in (tmp_path / "b.tar.gz").read_bytes()


def test_equal_members_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_bundle(tmp_path / name, MEMBERS, at_seconds=1_700_000_000)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(OSError, match="No space left"):
        write_bundle(tmp_path / "b.tar.gz", MEMBERS, at_seconds=0)
    assert list(tmp_path.iterdir()) == []
