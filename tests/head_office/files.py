"""The files of a head office, read raw."""

import asyncio
import subprocess
from pathlib import Path


async def files_with(directory: Path, text: str) -> list[str]:
    """Return the names of the files in `directory` in which these bytes stand, whatever the case.

    Another process reads them: closing a file here would end the locks that SQLite has on it.
    """
    command = ["grep", "-rlaiF", text, str(directory)]
    found = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=30, check=False
    )
    return sorted(Path(line).name for line in found.stdout.splitlines())
