"""A disk with a simulated power cut: ext4 on a loop device, shut down without flushing.

`FS_IOC_SHUTDOWN` stops the file system as a power cut does: unsynced data is lost and no
further write succeeds; the next mount replays the journal.
"""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

_FS_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = 2
_SIZE = "2G"


def run_on_host(*command: str | Path) -> None:
    """Run a command; raises if it fails."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


class Disk:
    """An image file, mounted at `mount_point` between `mount` and `unmount`."""

    def __init__(self, image: Path, mount_point: Path) -> None:
        self.mount_point = mount_point
        self._image = image
        mount_point.mkdir()
        run_on_host("truncate", "-s", _SIZE, image)
        run_on_host("mkfs.ext4", "-q", "-F", image)

    def mount(self) -> None:
        """Mount it; after a power cut this replays the journal."""
        run_on_host("mount", "-o", "loop", self._image, self.mount_point)

    def unmount(self) -> None:
        """Unmount it."""
        run_on_host("umount", self.mount_point)

    def cut(self) -> None:
        """Cut the power: drop all unsynced data and block further writes."""
        descriptor = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
        finally:
            os.close(descriptor)
