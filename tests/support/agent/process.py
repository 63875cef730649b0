"""The agent in a child process: its commands, and `run`."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.processes import LoggedProcess, run_program, running_service

AGENT = (sys.executable, "-m", "agent")


class AgentProcess(LoggedProcess):
    """A running agent process."""

    async def port(self) -> int:
        """Wait until it serves; return the port."""
        return await self.port_in_log("agent.serving")

    async def ready(self) -> int:
        """Wait until captures are accepted; return the port."""
        await self.wait_for_log("store.opened")
        return await self.port()


def delivering_to(url: str) -> dict[str, str]:
    """Return the settings of an agent that delivers to `url`, with the shortest waits."""
    return {
        "LOYALTY_AGENT__STORE__STORE_ID": "store-1",
        "LOYALTY_AGENT__STORE__TILL_ID": "till-1",
        "LOYALTY_AGENT__CENTRAL__URL": url,
        "LOYALTY_AGENT__CENTRAL__PROTOCOL": "batch",
        "LOYALTY_AGENT__SYNC__INTERVAL_SECONDS": "1",
        "LOYALTY_AGENT__SYNC__BACKOFF_BASE_SECONDS": "0.1",
        "LOYALTY_AGENT__SYNC__BACKOFF_CAP_SECONDS": "0.1",
    }


@asynccontextmanager
async def agent_process(
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    program: Sequence[str] = AGENT,
    descriptors: Sequence[int] = (),
) -> AsyncIterator[AgentProcess]:
    """Run an agent on a free port with `directory` as its storage; kill it when the block ends.

    `settings` are additional environment variables, `program` is the command that receives the
    agent's arguments, `descriptors` are inherited open files.
    """
    config = directory.with_name(f"{directory.name}.toml")
    config.write_text(
        f'[api]\nport = 0\n[storage]\ndirectory = "{directory}"\n[log]\nformat = "json"\n'
    )
    command = (*program, "--config", str(config), "run")
    async with running_service(
        AgentProcess, command, variables=settings, descriptors=descriptors
    ) as running:
        yield running


def agent(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to completion."""
    return run_program("agent", arguments, variables)
