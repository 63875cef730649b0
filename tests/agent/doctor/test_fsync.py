"""Check of the fdatasync duration."""

import errno
import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.doctor.fsync import Medium, check_fsync, judge_fsync, measure_fsync, read_medium
from agent.doctor.mounts import Mount
from sync.runtime.checks.check import Verdict


@pytest.mark.parametrize(
    ("milliseconds", "medium", "words"),
    [
        (4.0, Medium.ROTATING, ""),
        (0.9, Medium.ROTATING, "suspiciously fast"),
        (0.9, Medium.SOLID_STATE, ""),
        (0.049, Medium.SOLID_STATE, "suspiciously fast"),
        (0.049, Medium.VIRTUAL, "suspiciously fast"),
        (0.051, Medium.UNKNOWN, ""),
        (101.0, Medium.UNKNOWN, "slow"),
    ],
)
def test_sync_verdict_depends_on_the_medium(
    milliseconds: float, medium: Medium, words: str
) -> None:
    check = judge_fsync(milliseconds / 1000, medium)

    assert check.verdict is (Verdict.WARNING if words else Verdict.PASS)
    assert check.found.endswith(words)
    assert medium in check.found


@given(st.floats(0, 10), st.floats(0, 10), st.sampled_from(Medium))
def test_suspicion_is_monotonic_in_speed(one: float, other: float, medium: Medium) -> None:
    slower, faster = sorted([one, other], reverse=True)
    is_suspicious = [
        "suspiciously" in judge_fsync(seconds, medium).found for seconds in (slower, faster)
    ]
    assert is_suspicious != [True, False]


def test_median_is_measured_and_no_file_is_left(tmp_path: Path) -> None:
    # Each sync takes one unit longer than the previous one: 1, 2, ... 25.
    ticks = itertools.chain.from_iterable((0, length) for length in itertools.count(1))

    median = measure_fsync(tmp_path, lambda: float(next(ticks)))

    assert median == 13
    assert list(tmp_path.iterdir()) == []


def test_temporary_file_is_removed_without_o_tmpfile_support(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open, used = os.open, []

    def without_nameless_files(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        used.append(path)
        return really_open(path, flags, mode)

    monkeypatch.setattr("os.open", without_nameless_files)

    measure_fsync(tmp_path, lambda: 0.0)

    assert len(used) == 1
    assert list(tmp_path.iterdir()) == []


def test_unwritable_directory_is_a_fault(tmp_path: Path) -> None:
    check = check_fsync(tmp_path / "absent", Medium.UNKNOWN, lambda: 0.0)

    assert check.verdict is Verdict.FAULT
    assert "No such file or directory" in check.found


@pytest.mark.parametrize(
    ("source", "medium"),
    [
        ("/dev/vda1", Medium.VIRTUAL),
        ("/dev/absent", Medium.UNKNOWN),
        ("tmpfs", Medium.UNKNOWN),
        ("/dev/null", Medium.SOLID_STATE),
        ("/dev/zero", Medium.ROTATING),
    ],
)
def test_medium_is_read_from_the_device_or_its_parent_disk(
    tmp_path: Path, source: str, medium: Medium
) -> None:
    # Device numbers: /dev/null is 1:3 (here a disk), /dev/zero is 1:5 (here a partition).
    disk, partition = tmp_path / "devices/sdb", tmp_path / "devices/sda/sda1"
    for place, rotational in ((disk, "0\n"), (partition.parent, "1\n")):
        (place / "queue").mkdir(parents=True)
        (place / "queue/rotational").write_text(rotational)
    partition.mkdir()
    (tmp_path / "dev/block").mkdir(parents=True)
    (tmp_path / "dev/block/1:3").symlink_to(disk)
    (tmp_path / "dev/block/1:5").symlink_to(partition)

    assert read_medium(Mount(Path("/"), "ext4", source, frozenset()), tmp_path) is medium
