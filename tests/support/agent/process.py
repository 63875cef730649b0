"""Runs an agent as a child process, reads its log, and always ends it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import tests
from tests.support.till.requests import Response, parse_response

ROOT = Path(tests.__file__).resolve().parents[1]
AGENT = (sys.executable, "-m", "agent")
WAIT_SECONDS = 30.0
LogLine: TypeAlias = dict[str, object]


class ProcessEndedError(RuntimeError):
    """The agent ended before the expected event."""


class LoggedProcess:
    """A running agent. `lines` holds its log so far."""

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

        Raises ChildEndedError. On timeout the agent is aborted first, so that its log ends with the
        stack of each thread.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
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

    async def port(self) -> int:
        """Wait until it serves; return the port."""
        return int(str((await self.wait_for_log("agent.serving"))["port"]))

    async def ready(self) -> int:
        """Wait until captures are accepted; return the port."""
        await self.wait_for_log("store.opened")
        return await self.port()

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask the process to stop (SIGTERM)."""
        self._process.terminate()

    async def exit_code(self, timeout_seconds: float = WAIT_SECONDS) -> int:
        """Return the exit code, negative for a signal. Raises TimeoutError."""
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
            self._tell()
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


@asynccontextmanager
async def agent_process(
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    program: Sequence[str] = AGENT,
    descriptors: Sequence[int] = (),
) -> AsyncIterator[LoggedProcess]:
    """Run an agent on a free port with `directory` as its storage; kill it when the block ends.

    `settings` are additional environment variables, `program` is the command that receives the
    agent's arguments, `descriptors` are inherited open files.
    """
    config = write_config(directory)
    process = await asyncio.create_subprocess_exec(
        *program,
        "--config",
        str(config),
        "run",
        cwd=ROOT,
        env={**clean_environment(), "PYTHONFAULTHANDLER": "1", **(settings or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        pass_fds=descriptors,
    )
    child = LoggedProcess(process)
    try:
        yield child
    finally:
        # The child leads its own session, so this also ends a tracer's children.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await child.exit_code()


def write_config(directory: Path) -> Path:
    """Write the configuration beside `directory`; return the file."""
    config = directory.with_name(f"{directory.name}.toml")
    config.write_text(
        f'[api]\nport = 0\n[storage]\ndirectory = "{directory}"\n[log]\nformat = "json"\n'
    )
    return config


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure the agent."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("LOYALTY_AGENT__")
    }


async def ask(port: int, request: bytes) -> Response:
    """Send one request on a new connection; return the response."""
    async with asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await read_answer(reader)
        finally:
            writer.close()


async def get(port: int, path: str) -> Response:
    """GET `path`."""
    return await ask(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


async def read_answer(reader: asyncio.StreamReader) -> Response:
    """Read one whole response. Raises ChildEndedError if the connection ends before."""
    received = b""
    while (response := parse_response(received)) is None:
        more = await reader.read(65_536)
        if not more:
            raise ProcessEndedError(f"the connection ended after {received!r}")
        received += more
    return response


def _parsed(line: bytes) -> LogLine:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"text": line.decode(errors="replace")}
