"""Check of the file system of the storage directory, from `/proc/self/mountinfo`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sync.runtime.checks.check import Check, fault, passed, warning

_NAME = "file system"
# Another machine can change the file, or locks and shared memory maps are unreliable.
_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs"),
        *("lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs"),
        *("fuse.glusterfs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.davfs", "vboxsf"),
    }
)
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "zfs", "bcachefs"})
# Mount options with which a sync returns before the disk has flushed its cache.
_UNSAFE_OPTIONS = frozenset({"nobarrier", "barrier=0", "volatile"})
# Fields in proc_pid_mountinfo(5), before and after the separator.
_POINT, _OPTIONS, _SUPER_OPTIONS = 4, 5, 2
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    point: Path
    type: str
    source: str
    options: frozenset[str]


def find_mount(path: Path, proc: Path = Path("/proc")) -> Mount | None:
    """Return the mount of `path`; None if it cannot be determined."""
    try:
        text = (proc / "self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    return mount_of(path.resolve(), parse_mounts(text))


def parse_mounts(text: str) -> list[Mount]:
    """Parse `text` (proc_pid_mountinfo(5)); return the mounts in order."""
    mounts = []
    for line in text.splitlines():
        left, right = (part.split(" ") for part in line.partition(" - ")[::2])
        if len(left) > _OPTIONS and len(right) > _SUPER_OPTIONS:
            options = {*left[_OPTIONS].split(","), *right[_SUPER_OPTIONS].split(",")}
            point = Path(_unescaped(left[_POINT]))
            mounts.append(Mount(point, right[0], _unescaped(right[1]), frozenset(options)))
    return mounts


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount of `path`, which is absolute and resolved.

    The last of several mounts at one point hides the others.
    """
    above = [mount for mount in reversed(mounts) if path.is_relative_to(mount.point)]
    return max(above, key=lambda mount: len(mount.point.parts), default=None)


def check_file_system(mount: Mount | None) -> Check:
    """Judge if the file system is safe for a database."""
    if mount is None:
        return warning(_NAME, "unknown", "make sure that the directory is on a local disk")
    found = f"{mount.type} on {mount.source}"
    unsafe = mount.options & _UNSAFE_OPTIONS
    if mount.type in _NETWORK:
        why = "a network file system corrupts the database"
        advice = f"set [storage] directory to a local disk: {why}"
        return fault(_NAME, f"{found}: a network file system", advice)
    if mount.type in _IN_MEMORY:
        advice = "set [storage] directory to a disk: a power cut loses every capture"
        return fault(_NAME, f"{found}: in memory", advice)
    if unsafe:
        advice = "mount it without that option: a power cut loses acknowledged captures"
        return fault(_NAME, f"{found}, mounted with {', '.join(sorted(unsafe))}", advice)
    return passed(_NAME, found) if mount.type in _LOCAL else _check_uncommon(mount.type, found)


def _check_uncommon(kind: str, found: str) -> Check:
    if kind == "overlay":
        advice = "set [storage] directory to a volume: the container's own layer is deleted with it"
        return warning(_NAME, found, advice)
    advice = "prefer ext4, xfs or btrfs on a local disk"
    return warning(_NAME, f"{found}: not tested with the agent", advice)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
