"""Both programs as a supervisor may start them: with standard streams closed."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.agent.process import AGENT
from tests.support.head_office.process import HQ
from tests.support.notify_socket import Manager, manager_in
from tests.support.processes import ROOT, clean_environment

pytestmark = pytest.mark.process
SERVICES = pytest.mark.parametrize(
    ("program", "section", "command"),
    [(AGENT, "api", "run"), (HQ, "server", "serve")],
    ids=["loyalty-agent", "loyalty-hq"],
)
EXIT_SECONDS = 30.0


@asynccontextmanager
async def started(
    *command: str, closed: str, manager: Manager
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command by a shell that closes the streams with the redirections `closed`."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {closed}', "sh", *command),
        cwd=ROOT,
        env=clean_environment() | manager.environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def exit_code(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(EXIT_SECONDS):
        return await process.wait()


def streams_of(pid: int) -> set[str]:
    """Return the files behind the standard streams of a process."""
    return {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1, 2)}


@pytest.mark.slow
@SERVICES
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
async def test_service_with_closed_streams_serves_and_stops_in_order(
    tmp_path: Path, program: tuple[str, ...], section: str, command: str, closed: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[{section}]\nport = 0\n[storage]\ndirectory = "{tmp_path / "state"}"\n')
    serve = (*program, "--config", str(config), command)
    with manager_in(tmp_path) as manager:
        async with started(*serve, closed=closed, manager=manager) as process:
            await manager.hears_at_last("READY=1")
            streams = streams_of(process.pid)
            process.send_signal(signal.SIGTERM)

            assert await exit_code(process) == 0
            assert streams == {"/dev/null"}


@pytest.mark.parametrize("module", ["agent.cli", "sync.receiver.cli"])
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
async def test_command_with_closed_streams_opens_its_files_above_them(
    tmp_path: Path, module: str, closed: str
) -> None:
    script = f"""
import os, sys
from {module} import main
sys.argv[1:] = ["--version"]
try:
    main()
except SystemExit:
    pass
print("written", file=sys.stdout, flush=True)
print("written", file=sys.stderr, flush=True)
is_first_above = os.open(sys.executable, os.O_RDONLY) > 2
sys.exit(0 if is_first_above and sys.stdin.read() == "" else 1)
"""
    with manager_in(tmp_path) as manager:
        command = (sys.executable, "-c", script)
        async with started(*command, closed=closed, manager=manager) as process:
            assert await exit_code(process) == 0
