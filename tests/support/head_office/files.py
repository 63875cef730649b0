"""Searches the raw files of a head office."""

import asyncio
import subprocess
from pathlib import Path

from tests.support.patience import PATIENCE_SECONDS


async def files_with(directory: Path, text: str) -> list[str]:
    """Return the names of the files in `directory` that contain `text`, ignoring case.

    A child process reads them: closing a file in this process would drop SQLite's locks on it.
    """
    command = ["grep", "-rlaiF", text, str(directory)]
    found = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return sorted(Path(line).name for line in found.stdout.splitlines())
