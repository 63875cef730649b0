"""A disk of a few megabytes that can be filled: a tmpfs in its own mount namespace."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.agent.process import AGENT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT

_MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec cat'
_ENTER = 'cd "$0" && exec "$@"'
FILLER = "filler"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """Mounted at `inside` for programs started on it; visible at `outside` for other processes."""

    holder: int
    inside: Path

    @property
    def outside(self) -> Path:
        """Return the path of the disk for this process."""
        return Path(f"/proc/{self.holder}/root{self.inside}")

    @property
    def program(self) -> tuple[str, ...]:
        """Return the command that runs the agent on this disk."""
        return self.running(AGENT)

    def running(self, program: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs `program` on this disk."""
        enter = ("nsenter", "-t", str(self.holder), "-U", "-m", "--preserve-credentials")
        return (*enter, "sh", "-c", _ENTER, str(ROOT), *program)

    def fill(self, leaving_bytes: int = 0) -> None:
        """Fill the disk up to `leaving_bytes`."""
        filler = self.outside / FILLER
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        if leaving_bytes:
            with filler.open("ab") as file:
                file.truncate(filler.stat().st_size - leaving_bytes)

    def free(self) -> None:
        """Free the filled space."""
        (self.outside / FILLER).unlink()

    def free_bytes(self) -> int:
        """Return the free space in bytes."""
        disk = os.statvfs(self.outside)
        return disk.f_bavail * disk.f_frsize

    def copy_to(self, place: Path) -> None:
        """Copy the files on the disk to `place`."""
        shutil.copytree(self.outside, place, ignore=shutil.ignore_patterns(FILLER, "*.ballast"))


@asynccontextmanager
async def small_disk(mount_point: Path, size: str) -> AsyncIterator[SmallDisk]:
    """Mount a disk of `size` (in tmpfs syntax) until the block ends, or skip the test."""
    mount_point.mkdir()  # noqa: ASYNC240 - blocks only the test's own event loop
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no full disk was tested: unshare and nsenter (util-linux) are missing")
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "-rm", "sh", "-c", _MOUNT, "sh", size, str(mount_point)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            mounted = await holder.stdout.readline()
        if not mounted:
            reason = (await holder.stderr.read()).decode().strip()
            pytest.skip(
                f"no full disk was tested: mount namespaces are not allowed here ({reason})"
            )
        yield SmallDisk(holder.pid, mount_point)
    finally:
        # The namespace ends together with the process that holds it.
        holder.stdin.close()
        await holder.stdout.read()
        await holder.stderr.read()
        await holder.wait()
