"""The storage lock: one process owns the directory; a second one learns its id."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.store.files.lock import LOCK_FILE, StoreInUse, find_lock_holder, storage_lock

HOLD = (
    "import sys; from pathlib import Path; from agent.store.files.lock import storage_lock\n"
    "with storage_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def held_by_a_child(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a child process hold the lock until the block ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            yield child
        finally:
            child.kill()


def acquire_and_release(directory: Path) -> None:
    """Hold the lock for a moment, or raise `StoreInUse`."""
    with storage_lock(directory):
        pass


@pytest.mark.process
def test_second_process_gets_an_error_with_holder_and_remedy(tmp_path: Path) -> None:
    with held_by_a_child(tmp_path) as child, pytest.raises(StoreInUse) as raised:
        acquire_and_release(tmp_path)
    assert f"process {child.pid}" in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert "[storage] directory" in str(raised.value)


@pytest.mark.process
def test_killed_process_releases_the_lock(tmp_path: Path) -> None:
    with held_by_a_child(tmp_path) as child:
        child.kill()
        child.wait()
        with storage_lock(tmp_path):
            assert (tmp_path / LOCK_FILE).read_text() != f"process {child.pid}\n"


def test_released_lock_can_be_acquired_again(tmp_path: Path) -> None:
    for _ in range(2):
        acquire_and_release(tmp_path)


def test_two_locks_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    with storage_lock(tmp_path), pytest.raises(StoreInUse):
        acquire_and_release(tmp_path)


def test_lock_works_when_the_holder_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    with storage_lock(tmp_path), pytest.raises(StoreInUse, match="another process"):
        acquire_and_release(tmp_path)


def test_holder_of_the_lock_is_found(tmp_path: Path) -> None:
    with storage_lock(tmp_path):
        assert find_lock_holder(tmp_path) == os.getpid()


def test_former_holder_is_not_returned(tmp_path: Path) -> None:
    with storage_lock(tmp_path):
        pass

    assert (tmp_path / LOCK_FILE).exists()
    assert find_lock_holder(tmp_path) is None


def test_lock_of_another_directory_is_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    with storage_lock(tmp_path / "one"):
        (tmp_path / "two" / LOCK_FILE).write_text(f"process {os.getpid()}\n")

        assert find_lock_holder(tmp_path / "two") is None


def test_directory_without_a_valid_lock_file_has_no_holder(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(b"process \xff")

    assert find_lock_holder(tmp_path) is None
    assert find_lock_holder(tmp_path / "absent") is None
