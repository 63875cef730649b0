"""The receiver in a child process: its commands, and `serve`."""

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.processes import (
    ROOT,
    LoggedProcess,
    clean_environment,
    messages,
    run_command,
    run_program,
    running_service,
)
from tests.support.terminal import run_forked_on_terminal

HQ = (sys.executable, "-m", "sync.receiver")


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
    if program is HQ:
        return run_program("sync.receiver", arguments, variables)
    return run_command([*program, *arguments], variables)


def hq_on_terminal(*arguments: str) -> list[str]:
    """Run a command to completion on a terminal; return the lines it printed.

    Without the line on its configuration.
    """
    variables = clean_environment()
    shown = run_forked_on_terminal("sync.receiver", arguments, ROOT, variables)
    return messages(shown).splitlines()


class ReceiverProcess(LoggedProcess):
    """A running receiver process."""

    async def port(self) -> int:
        """Wait until it serves; return the port."""
        return await self.port_in_log("hq.serving")


@asynccontextmanager
async def receiver_process(
    directory: Path, program: Sequence[str] = HQ, *, database: str = "", port: int = 0
) -> AsyncIterator[ReceiverProcess]:
    """Serve with `directory` as storage, on a free port; kill the process when the block ends.

    `database` is the URL of a PostgreSQL database; `port` replaces the free port.
    """
    config = write_config(directory, database=database, port=port)
    async with running_service(
        ReceiverProcess, (*program, "--config", str(config), "serve")
    ) as running:
        yield running
