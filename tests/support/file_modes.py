"""Permissions of files."""

import stat
from pathlib import Path


def mode_of(path: Path) -> int:
    """Return the permission bits of a file, of the link itself if it is one."""
    return stat.S_IMODE(path.lstat().st_mode)
