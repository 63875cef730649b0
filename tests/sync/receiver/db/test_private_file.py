"""The ledger's SQLite file is head office's own, wherever it is."""

import os
from pathlib import Path

import pytest

from sync.receiver.db.sqlite import SqliteFile
from tests.support.file_modes import mode_of

STRANGER = 65_534
pytestmark = pytest.mark.usefixtures("open_umask")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


async def open_and_close(path: Path, *, owns_directory: bool = False) -> set[int]:
    """Return the modes of the files beside the open database, and its own."""
    database = SqliteFile(path, owns_directory=owns_directory)
    try:
        await database.open()
        return {mode_of(file) for file in path.parent.glob(f"{path.name}*")}
    finally:
        await database.close()


@pytest.mark.parametrize("owns_directory", [True, False])
async def test_no_other_user_can_read_the_ledger(tmp_path: Path, *, owns_directory: bool) -> None:
    place = tmp_path / "srv"
    place.mkdir(mode=0o755)

    modes = await open_and_close(place / "hq.db", owns_directory=owns_directory)

    assert modes == {0o600}
    assert mode_of(place) == (0o700 if owns_directory else 0o755)


async def test_existing_ledger_is_made_private(tmp_path: Path) -> None:
    await open_and_close(tmp_path / "hq.db")
    (tmp_path / "hq.db").chmod(0o644)

    assert await open_and_close(tmp_path / "hq.db") == {0o600}


@pytest.mark.parametrize("name", ["hq.db", "hq.db.lock", "hq.db.queue"])
async def test_link_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / name).symlink_to(target)

    with pytest.raises(OSError, match="link"):
        await open_and_close(tmp_path / "hq.db")

    assert target.read_bytes() == b""


@as_root
async def test_ledger_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hq.db").touch()
    os.chown(tmp_path / "hq.db", STRANGER, STRANGER)

    with pytest.raises(PermissionError, match="belongs to nobody, not to root: run as that user"):
        await open_and_close(tmp_path / "hq.db")


async def test_ledger_in_a_directory_that_any_user_could_replace_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    with pytest.raises(PermissionError, match="any user may replace"):
        await open_and_close(shared / "hq.db")
