"""The storage directory is the agent's own: against links, open modes and locks of other users."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.service import running_agent
from agent.store.crypto.vault import open_vault
from agent.store.files.disk_space import BALLAST_FILE, DiskSpace, SpaceLimits
from agent.store.files.high_water_mark import MARK_FILE, HighWaterMark, read_high_water_mark
from agent.store.files.lock import LOCK_FILE, StoreInUse, storage_lock
from tests.support.agent.in_process import agent_under_test, settings_in
from tests.support.file_modes import mode_of

STRANGER = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
LOCK = """
import fcntl, os, sys
fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked_by_a_stranger(path: Path) -> Iterator[None]:
    """Have another user hold a lock, with a descriptor from a time when the file was readable."""
    descriptor = os.open(path, os.O_RDONLY)
    command = (sys.executable, "-c", LOCK, str(descriptor))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, user=STRANGER, pass_fds=(descriptor,), stdin=pipe, stdout=pipe
    ) as child:
        os.close(descriptor)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            yield
        finally:
            child.kill()


@pytest.mark.usefixtures("open_umask")
async def test_existing_installation_is_made_private_and_every_new_file_is(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    async with agent_under_test(settings_in(state)):
        modes = {file.name: mode_of(file) for file in state.iterdir()}
    assert mode_of(state) == 0o700
    assert {"agent.db", "agent.db-wal", MARK_FILE, LOCK_FILE, "encryption.key"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@as_root
async def test_agent_refuses_a_directory_of_another_user_and_writes_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match="it belongs to nobody, not to root"):
        async with running_agent(settings_in(state)):
            pass
    assert list(state.iterdir()) == []


@as_root
@pytest.mark.process
@pytest.mark.parametrize("name", [".", LOCK_FILE])
def test_lock_of_another_user_does_not_stop_the_agent(tmp_path: Path, name: str) -> None:
    with storage_lock(tmp_path):
        pass
    with (
        locked_by_a_stranger(tmp_path / name),
        storage_lock(tmp_path),
        pytest.raises(StoreInUse),
        storage_lock(tmp_path),
    ):
        pass


@as_root
@pytest.mark.process
def test_another_user_who_holds_both_locks_does_not_stop_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with storage_lock(tmp_path):
        pass
    with (
        locked_by_a_stranger(tmp_path),
        locked_by_a_stranger(tmp_path / LOCK_FILE),
        storage_lock(tmp_path),
        pytest.raises(StoreInUse),
        storage_lock(tmp_path),
    ):
        pass
    assert "storage.locked_by_stranger" in caplog.messages


@pytest.mark.process
def test_version_that_locks_only_the_directory_is_waited_for(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    command = (sys.executable, "-c", LOCK, str(descriptor))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, pass_fds=(descriptor,), stdin=pipe, stdout=pipe) as child:
        os.close(descriptor)
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(StoreInUse), storage_lock(tmp_path):
            pass
        child.kill()


@pytest.mark.parametrize("name", [LOCK_FILE, MARK_FILE, BALLAST_FILE, "agent.db"])
async def test_link_in_place_of_a_file_harms_no_other_file(tmp_path: Path, name: str) -> None:
    state, target = tmp_path / "state", tmp_path / "target"
    state.mkdir(mode=0o700)
    target.write_bytes(b"precious")
    (state / name).symlink_to(target)
    with suppress(OSError), storage_lock(state):
        pass
    with suppress(OSError):
        HighWaterMark(state).close()
    with suppress(OSError):
        DiskSpace(state, SpaceLimits(1, 0, 1_048_576)).create_ballast()
    async with agent_under_test(settings_in(state)):
        pass
    assert target.read_bytes() == b"precious"


def test_mark_is_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mark").write_bytes(b"x")
    (tmp_path / MARK_FILE).symlink_to("/dev/zero")
    assert read_high_water_mark(tmp_path) is None


def test_key_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    key = tmp_path / "key"
    open_vault(key)
    key.chmod(0o644)
    open_vault(key)
    assert mode_of(key) == 0o600


@as_root
def test_key_behind_a_link_of_another_user_is_not_used(tmp_path: Path) -> None:
    open_vault(tmp_path / "key")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "key")
    open_vault(link)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(PermissionError, match="a link made by nobody"):
        open_vault(link)
