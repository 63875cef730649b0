"""Locks on the SQLite file that `loyalty-hq doctor` meets, and files that it may not read."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.receiver.db.sqlite_write_lock import find_long_holder
from sync.receiver.doctor.sqlite import check_sqlite
from sync.runtime.checks.check import Check, Verdict
from tests.support.head_office.process import hq, write_config
from tests.support.head_office.receiver import settings_in

NOBODY = 65_534
_LOCK = """
import fcntl, sys
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """Return a directory that other users reach, unlike those of the tests."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.process
def test_command_that_writes_is_named_and_not_the_receiver_that_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver with tills nearly always waits in the queue: it was said to write for long."""
    monkeypatch.setattr("sync.receiver.db.sqlite_write_lock.SERVING_SECONDS", 0)
    lock, queue = tmp_path / "hq.db.lock", tmp_path / "hq.db.queue"
    lock.touch()
    pipe = subprocess.PIPE
    command = (sys.executable, "-S", "-c", _LOCK, str(lock))
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other, queue.open("w") as waiting:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        fcntl.flock(waiting, fcntl.LOCK_EX)

        holder = find_long_holder(tmp_path / "hq.db")

        other.kill()
    assert str(holder).startswith(f"process {other.pid} ")


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("unreadable", ["hq.db", "hq.db.queue"])
def test_file_that_this_user_may_not_read_is_no_damage(
    public_directory: Path, unreadable: str
) -> None:
    """It said to restore a backup over a sound database; then doctor ended with a traceback."""
    state = public_directory / "state"
    hq("--config", str(write_config(state)), "enroll", "0042", "till-1")
    state.chmod(0o755)
    for path in state.iterdir():
        path.chmod(0o600 if path.name == unreadable else 0o644)
    os.seteuid(NOBODY)
    try:
        found = {check.name: check for check in check_sqlite(settings_in(state))}
    finally:
        os.seteuid(0)

    if unreadable == "hq.db":
        assert is_advised(found["database"], "run doctor as root")
        assert "integrity" not in found
    else:
        assert found["integrity"].verdict is Verdict.PASS


def is_advised(check: Check, advice: str) -> bool:
    """Return whether it is a fault with this advice."""
    return (check.verdict, check.advice) == (Verdict.FAULT, advice)
