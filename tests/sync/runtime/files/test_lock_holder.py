"""The process that holds a lock, as the kernel's table has it."""

import fcntl
import struct
from pathlib import Path

import pytest

from sync.runtime.files.lock_holder import lock_holder

F_OFD_SETLK = 37


def test_lock_of_an_open_file_has_no_process_to_name(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.touch()
    whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    with path.open("r+b") as file:
        try:
            fcntl.fcntl(file, F_OFD_SETLK, whole_file)
        except OSError:
            pytest.skip("this kernel or file system has no such locks")
        assert lock_holder(path) == "a process that the kernel does not name"
