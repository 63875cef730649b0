"""Injects disk faults into the system calls of a running agent, using strace.

SQLite syncs a WAL database only with fdatasync, so faults are counted on that call.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.patience import PATIENCE_SECONDS


def strace() -> str:
    """Return the path of strace. Raises FileNotFoundError; a campaign needs it."""
    found = shutil.which("strace")
    if found is None:
        raise FileNotFoundError("this campaign injects its faults with strace: install it")
    return found


@asynccontextmanager
async def injected(pid: int, fault: str) -> AsyncIterator[None]:
    """Inject `fault` (in strace's syntax) into a running process until the block ends."""
    tracer = await asyncio.create_subprocess_exec(
        *(strace(), "-f", "-o", "/dev/null", "-e", f"inject={fault}", "-p", str(pid)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            told = await tracer.stderr.readline()
        assert b"attached" in told, told
        yield
    finally:
        if tracer.returncode is None:
            tracer.terminate()
        await tracer.stderr.read()
        await tracer.wait()
