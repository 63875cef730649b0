"""Private files: a file that another local user made, or could replace, is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sync.runtime.files.private_files import (
    UnsafeFileError,
    create_private,
    make_private_directory,
    open_private,
    read_secret_file,
)
from tests.support.file_modes import mode_of

STRANGER = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


def test_new_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    os.umask(os.umask(0))
    make_private_directory(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a" / "b") == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o777, 0o750, 0o701])
def test_directory_of_an_existing_installation_is_tightened_with_its_files(
    state: Path, mode: int
) -> None:
    (state / "agent.db").touch(mode=0o644)
    (state / "set-aside").mkdir(mode=0o755)
    state.chmod(mode)
    make_private_directory(state)
    assert [mode_of(p) for p in (state, state / "agent.db", state / "set-aside")] == [
        0o700,
        0o600,
        0o700,
    ]


@pytest.mark.parametrize("step", ["lstat", "chmod"])
def test_file_that_another_process_removes_meanwhile_is_no_error(
    state: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """As the temporary file of an atomic write, beside which a command is started."""
    state.chmod(0o700)
    (state / ".retention-clock.json.x").touch(mode=0o644)
    original = getattr(Path, step)

    def removed_before(place: Path, *arguments: int) -> object:
        if place.parent == state:
            place.unlink(missing_ok=True)
        return original(place, *arguments)

    monkeypatch.setattr(Path, step, removed_before)
    make_private_directory(state)
    assert not list(state.iterdir())


@as_root
def test_directory_of_another_user_is_refused(state: Path) -> None:
    os.chown(state, STRANGER, STRANGER)
    with pytest.raises(UnsafeFileError, match="belongs to nobody"):
        make_private_directory(state)


@as_root
@pytest.mark.parametrize("name", ["agent.lock", "agent.db", "encryption.key"])
def test_directory_with_a_file_of_another_user_is_refused(state: Path, name: str) -> None:
    (state / name).touch()
    os.chown(state / name, STRANGER, STRANGER)
    with pytest.raises(UnsafeFileError, match="another user may have put it there") as raised:
        make_private_directory(state)
    assert raised.value.filename == str(state / name)


@as_root
def test_note_of_another_user_in_a_directory_that_was_never_open_is_harmless(state: Path) -> None:
    """As root's `cp -p` leaves it."""
    (state / "notes-of-support.txt").touch()
    os.chown(state / "notes-of-support.txt", STRANGER, STRANGER)
    state.chmod(0o700)
    make_private_directory(state)
    state.chmod(0o777)
    with pytest.raises(UnsafeFileError, match="another user may have put it there"):
        make_private_directory(state)


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_link_in_a_directory_that_was_open_to_all_is_refused(
    state: Path, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "target").touch()
    plant(state / "agent.mark", tmp_path / "target")
    state.chmod(0o777)
    for _start in range(2):  # a service manager starts it again at once
        with pytest.raises(UnsafeFileError, match="another user may have put it there"):
            make_private_directory(state)


@as_root
def test_link_of_another_user_to_the_directory_is_refused(state: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(state)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(UnsafeFileError, match="a link made by nobody"):
        make_private_directory(link)


def test_own_link_to_the_directory_is_followed(state: Path, tmp_path: Path) -> None:
    """A till's storage moved to another disk by its administrator."""
    (tmp_path / "link").symlink_to(state)
    make_private_directory(tmp_path / "link")
    assert mode_of(state) == 0o700


def test_directory_that_any_user_could_replace_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UnsafeFileError, match="any user may replace"):
        make_private_directory(shared / "state")
    shared.chmod(0o1777)
    make_private_directory(shared / "state")


def test_link_is_not_followed_and_its_target_not_truncated(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "agent.lock").symlink_to(target)
    with pytest.raises(UnsafeFileError, match="it is a link"):
        open_private(tmp_path / "agent.lock", os.O_RDWR | os.O_CREAT)
    with pytest.raises(UnsafeFileError):
        create_private(tmp_path / "agent.lock")
    assert target.read_bytes() == b"precious"


def test_opened_file_is_not_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "old").touch(mode=0o666)
        for name in ("old", "new"):
            os.close(open_private(tmp_path / name, os.O_RDWR | os.O_CREAT))
        create_private(tmp_path / "newest")
    finally:
        os.umask(before)
    assert {mode_of(tmp_path / name) for name in ("old", "new", "newest")} == {0o600}


@as_root
def test_file_of_another_user_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"theirs")
    os.chown(tmp_path / "file", STRANGER, STRANGER)
    for opening in (lambda p: open_private(p, os.O_RDWR), create_private):
        with pytest.raises(UnsafeFileError, match="belongs to nobody, not to root"):
            opening(tmp_path / "file")


def test_pipe_does_not_block_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFileError):
        open_private(tmp_path / "pipe", os.O_RDONLY)


def test_pipe_in_place_of_a_secret_does_not_hold_the_start(tmp_path: Path) -> None:
    """Opening it would wait for a writer for ever."""
    os.mkfifo(tmp_path / "key")
    assert read_secret_file(tmp_path / "key", 4_096) == b""
