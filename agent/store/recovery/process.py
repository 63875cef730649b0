"""Processes that read or erase a quarantined database, started by the agent."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.store.recovery.erase import ERASE

# Extracts the readable rows of a directory, up to a position that is known to be committed.
Extract = Callable[[Path, int], Awaitable[None]]
# Erases the addresses of delivered answers in a directory that has to stay.
Erase = Callable[[Path], Awaitable[None]]


class ExtractionError(Exception):
    """The process that reads a quarantined database has failed."""


async def extract_in_process(place: Path, mark_position: int) -> None:
    """Extract in a process of its own. Raises `ExtractionError`."""
    await _run(place, str(mark_position))


async def erase_in_process(place: Path) -> None:
    """Erase in a process of its own. Raises `ExtractionError`."""
    await _run(place, ERASE)


async def _run(place: Path, task: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # no module of the current directory, which may be another user's
        "-m",
        "agent.store.recovery",
        str(place),
        task,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if code:
        raise ExtractionError(f"the process ended with {code}")
