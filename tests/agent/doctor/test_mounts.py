"""Mount lookup and verdict on the file system."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.doctor.mounts import (
    Mount,
    check_file_system,
    find_mount,
    mount_of,
    parse_mounts,
)
from sync.runtime.checks.check import Verdict

# Example of proc_pid_mountinfo(5), plus a mount point with a blank.
TABLE = r"""36 35 98:0 / / rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue
40 36 0:50 / /mnt/the\040share rw,relatime shared:2 master:3 - nfs4 hq:/tills rw,vers=4.2
41 36 0:51 / /run rw,nosuid - tmpfs tmpfs rw,size=100k
nonsense
42 36 98:1 / /run/data rw - xfs /dev/sdb1 rw,nobarrier
"""
NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, max_size=4).map(lambda names: Path("/", *names))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/mnt", "ext4"),
        ("/mnt/the share/x", "nfs4"),
        ("/mnt/the sharer", "ext4"),
        ("/run/x", "tmpfs"),
        ("/run/data", "xfs"),
        ("/run/data/x/y", "xfs"),
    ],
)
def test_path_belongs_to_the_deepest_mount_above_it(path: str, kind: str) -> None:
    mount = mount_of(Path(path), parse_mounts(TABLE))

    assert mount is not None
    assert mount.type == kind


@given(path=PATHS, points=st.lists(PATHS, max_size=6))
def test_found_mount_is_the_deepest_and_last(path: Path, points: list[Path]) -> None:
    mounts = [Mount(p, "ext4", str(number), frozenset()) for number, p in enumerate(points)]

    found = mount_of(path, mounts)

    above = [m for m in mounts if m.point == path or m.point in path.parents]
    assert (found is None) == (not above)
    if found is not None:
        assert max(above, key=lambda m: (len(m.point.parts), int(m.source))) == found


@pytest.mark.parametrize(
    ("kind", "options", "verdict"),
    [
        ("ext4", "rw", Verdict.PASS),
        ("btrfs", "rw,compress=zstd", Verdict.PASS),
        ("nfs4", "rw", Verdict.FAULT),
        ("cifs", "rw", Verdict.FAULT),
        ("fuse.sshfs", "rw", Verdict.FAULT),
        ("9p", "rw", Verdict.FAULT),
        ("tmpfs", "rw", Verdict.FAULT),
        ("ext4", "rw,nobarrier", Verdict.FAULT),
        ("ext4", "rw,barrier=0", Verdict.FAULT),
        ("overlay", "rw,volatile", Verdict.FAULT),
        ("overlay", "rw", Verdict.WARNING),
        ("exfat", "rw", Verdict.WARNING),
    ],
)
def test_file_system_is_judged_by_type_and_options(
    kind: str, options: str, verdict: Verdict
) -> None:
    mount = Mount(Path("/"), kind, "/dev/sda1", frozenset(options.split(",")))

    check = check_file_system(mount)

    assert check.verdict is verdict
    assert kind in check.found


def test_mount_is_found_on_this_machine(tmp_path: Path) -> None:
    assert find_mount(tmp_path, Path("/proc")) is not None


def test_unreadable_mountinfo_is_a_warning(tmp_path: Path) -> None:
    assert check_file_system(find_mount(tmp_path, tmp_path)).verdict is Verdict.WARNING
