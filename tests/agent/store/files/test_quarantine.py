"""Files that a command copies into the quarantine of a service."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store.files.quarantine import copy_into_quarantine

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


@pytest.fixture
def directory() -> Iterator[Path]:
    """The storage directory of a service, within its reach: those of tests are root's."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        directory = Path(place) / "state"
        directory.mkdir(mode=0o700)
        os.chown(directory, NOBODY, NOBODY)
        yield directory


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """A database that only root may read."""
    found = tmp_path / "found.db"
    found.write_bytes(b"content")
    found.chmod(0o600)
    return found


def test_copy_that_root_makes_is_the_services(directory: Path, found: Path) -> None:
    name = copy_into_quarantine(found, directory, 0)

    place = directory / "set-aside" / name
    made = (place.parent, place, place / "agent.db")
    assert (place / "agent.db").read_bytes() == b"content"
    assert {(one.stat().st_uid, one.stat().st_mode & 0o077) for one in made} == {(NOBODY, 0)}
    assert os.geteuid() == 0


def test_root_writes_nothing_through_a_link_of_the_services_user(
    directory: Path, found: Path, tmp_path: Path
) -> None:
    roots = tmp_path / "of-root"
    roots.mkdir(mode=0o755)
    (directory / "set-aside").symlink_to(roots)

    with pytest.raises(PermissionError):
        copy_into_quarantine(found, directory, 0)

    assert (roots.stat().st_uid, list(roots.iterdir())) == (0, [])
