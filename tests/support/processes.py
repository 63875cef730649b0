"""Runs both programs as child processes: commands to completion, services until the block ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

import tests
from tests.support.fork_server import run_forked
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(tests.__file__).resolve().parents[1]
LogLine: TypeAlias = dict[str, object]
_OWN_VARIABLES = ("LOYALTY_AGENT__", "LOYALTY_HQ__", "STATE_DIRECTORY")


class ProcessEndedError(RuntimeError):
    """The process ended before the expected event."""


class LoggedProcess:
    """A running service. `lines` holds its log so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[LogLine] = []
        self._process = process
        self._news = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    async def wait_for_log(self, event: str, after: int = 0) -> LogLine:
        """Return the first log line of `event` from line `after` on; wait for it if necessary.

        Raises ProcessEndedError. On timeout the process is aborted first, so that its log ends
        with the stack of each thread.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._wait_for_log(event, after)
        except TimeoutError:
            self._process.send_signal(signal.SIGABRT)
            await self.exit_code()
            raise ProcessEndedError(f"no {event} in time:\n{self.log_tail()}") from None

    async def _wait_for_log(self, event: str, after: int) -> LogLine:
        while True:
            for line in self.lines[after:]:
                if line.get("event") == event:
                    return line
            if self._listening.done():
                raise ProcessEndedError(f"no {event} before the end:\n{self.log_tail()}")
            await self._news.wait()

    async def port_in_log(self, event: str) -> int:
        """Wait until the service logs `event`; return the port in it."""
        return int(str((await self.wait_for_log(event))["port"]))

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask the process to stop (SIGTERM)."""
        self._process.terminate()

    async def exit_code(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end; return the exit code, negative for a signal. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            await asyncio.shield(self._listening)
            return await self._process.wait()

    async def still_runs_after(self, seconds: float) -> bool:
        """Return whether it still runs after `seconds`."""
        try:
            await self.exit_code(seconds)
        except TimeoutError:
            return True
        return False

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(json.dumps(line) for line in self.lines[-60:])

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.lines.append(_parsed(line))
            self._notify()
        asyncio.get_running_loop().call_soon(self._notify)

    def _notify(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


Service = TypeVar("Service", bound=LoggedProcess)


@asynccontextmanager
async def running_service(
    service: type[Service],
    command: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> AsyncIterator[Service]:
    """Run `command` with a log on stderr; kill it when the block ends.

    `variables` are additional environment variables, `descriptors` inherited open files.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONFAULTHANDLER": "1", **(variables or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        pass_fds=descriptors,
    )
    running = service(process)
    try:
        yield running
    finally:
        # The process leads its own session, so this also ends a tracer's children.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await running.exit_code()


def run_command(
    command: Sequence[str], variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to completion with additional environment variables."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**clean_environment(), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def run_program(
    module: str, arguments: Sequence[str], variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` as `run_command` does, in a fork of what is imported."""
    environment = {**clean_environment(), **variables}
    return run_forked(
        module, arguments, directory=ROOT, environment=environment, timeout_seconds=PATIENCE_SECONDS
    )


def messages(stderr: str) -> str:
    """Return standard error of a command without the line on its configuration, the first one."""
    first, _, rest = stderr.partition("\n")
    return rest if first.startswith("Configuration: ") else stderr


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure the programs."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)
    }


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _parsed(line: bytes) -> LogLine:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"text": line.decode(errors="replace")}
