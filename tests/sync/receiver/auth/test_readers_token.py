"""The readers' token that head office makes itself."""

import os
import stat
from pathlib import Path

import pytest

from sync.receiver.auth.readers_token import FILE_NAME, own_token
from sync.runtime.files.private_files import UnsafeFileError
from sync.runtime.settings.setting_errors import ConfigurationError

SECRET = "a-new-token-of-at-least-twenty"  # noqa: S105 - of these tests only


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / FILE_NAME


def token_in(file: Path, secret: str = SECRET) -> str:
    return own_token(file.parent, lambda: secret)


def test_token_is_made_once_and_kept(file: Path) -> None:
    assert token_in(file) == token_in(file, "another-token-of-twenty-or-more") == SECRET


def test_only_its_user_can_read_the_token(file: Path) -> None:
    umask = os.umask(0)
    try:
        token_in(file)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == [FILE_NAME]


def test_planted_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    """Neither to write the token nor to read one known to another user."""
    file.parent.mkdir(mode=0o700)
    target = tmp_path / "target"
    file.symlink_to(target)
    with pytest.raises(UnsafeFileError, match="it is a link"):
        token_in(file)
    target.write_text("known-to-the-attacker-and-long")

    with pytest.raises(UnsafeFileError, match="it is a link"):
        token_in(file)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o622, 0o604])
def test_token_file_does_not_stay_open_to_others(file: Path, mode: int) -> None:
    token_in(file)
    file.chmod(mode)

    token_in(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_anything_but_a_file_is_refused(file: Path, kind: str) -> None:
    file.parent.mkdir(mode=0o700)
    os.mkfifo(file, 0o600) if kind == "fifo" else file.mkdir(0o700)

    with pytest.raises(UnsafeFileError, match="no regular file"):
        token_in(file)


@pytest.mark.parametrize("content", ["", "\n", "short", "two\nlines-of-a-long-token", "é" * 30])
def test_damaged_token_is_refused_instead_of_weakening_access(file: Path, content: str) -> None:
    token_in(file)
    file.write_text(content)

    with pytest.raises(ConfigurationError) as raised:
        token_in(file)

    message = str(raised.value)
    assert f"{file}: access.admin_token_file: this is not a token that head office" in message
    assert "lines-of" not in message


def test_processes_that_start_at_once_have_one_token(file: Path) -> None:
    first = SECRET + "-of-the-first"

    def make_second() -> str:
        # Another process makes its token while this one does.
        assert token_in(file, first) == first
        return SECRET + "-of-the-second"

    assert own_token(file.parent, make_second) == first
    assert [one.name for one in file.parent.iterdir()] == [FILE_NAME]


def test_directory_that_cannot_be_made_is_reported_with_the_setting_to_change(
    tmp_path: Path,
) -> None:
    """Receivers on PostgreSQL needed no directory before: the error named a path only."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="admin_token_file"):
        own_token(tmp_path / "file" / "state", lambda: SECRET)
