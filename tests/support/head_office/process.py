"""The receiver in a child process: its commands, and `serve`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGKILL

from tests.support.agent.process import ROOT, LoggedProcess
from tests.support.terminal import run_on_terminal

HQ = (sys.executable, "-m", "sync.receiver")
_OURS = ("LOYALTY_HQ__", "STATE_DIRECTORY")


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure the receiver."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def write_config(directory: Path, *, database: str = "", port: int = 0) -> Path:
    """Write the configuration beside `directory`; return the file. `database` is a URL."""
    config = directory.with_name(f"{directory.name}.toml")
    config.write_text(
        f'[server]\nport = {port}\n[storage]\ndirectory = "{directory}"\n'
        f'[database]\nurl = "{database}"\n[log]\nformat = "json"\n'
    )
    return config


def hq(
    *arguments: str, program: Sequence[str] = HQ, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to completion."""
    return subprocess.run(
        [*program, *arguments],
        cwd=ROOT,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def hq_on_terminal(*arguments: str) -> list[str]:
    """Run a command to completion on a terminal; return the lines it printed."""
    return run_on_terminal([*HQ, *arguments], ROOT, clean_environment()).splitlines()


class ReceiverProcess(LoggedProcess):
    """A running receiver process."""

    async def port(self) -> int:
        """Wait until it serves; return the port."""
        return int(str((await self.wait_for_log("hq.serving"))["port"]))


@asynccontextmanager
async def receiver_process(
    directory: Path, program: Sequence[str] = HQ, *, database: str = "", port: int = 0
) -> AsyncIterator[ReceiverProcess]:
    """Serve with `directory` as storage, on a free port; kill the process when the block ends.

    `database` is the URL of a PostgreSQL database; `port` replaces the free port.
    """
    config = write_config(directory, database=database, port=port)
    process = await asyncio.create_subprocess_exec(
        *(*program, "--config", str(config), "serve"),
        cwd=ROOT,
        env={**clean_environment(), "PYTHONFAULTHANDLER": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    child = ReceiverProcess(process)
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)
        await child.exit_code()
