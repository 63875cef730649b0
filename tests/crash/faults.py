"""Faults of the disk, injected into the system calls of a live agent by strace.

SQLite syncs a WAL database with fdatasync alone, so that is what faults are counted on.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.crash.child import WAIT_SECONDS


def strace() -> str:
    """Return where strace is. Raises FileNotFoundError: a campaign without it has shown nothing."""
    found = shutil.which("strace")
    if found is None:
        raise FileNotFoundError("this campaign injects its faults with strace: install it")
    return found


@asynccontextmanager
async def injected(pid: int, fault: str) -> AsyncIterator[None]:
    """Inject `fault` (strace's own words) into a running process until the block ends."""
    tracer = await asyncio.create_subprocess_exec(
        *(strace(), "-f", "-o", "/dev/null", "-e", f"inject={fault}", "-p", str(pid)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            told = await tracer.stderr.readline()
        assert b"attached" in told, told
        yield
    finally:
        if tracer.returncode is None:
            tracer.terminate()
        await tracer.stderr.read()
        await tracer.wait()
