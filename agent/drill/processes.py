"""Agent and receiver as subprocesses in a temporary directory."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

STORE, TILL = "drill-store", "drill-till"
_AGENT = ("-m", "agent")
_RECEIVER = ("-m", "sync.receiver")
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


class ProcessFailedError(Exception):
    """A subprocess failed to start; the message holds its last log lines."""


class ProgramProcess:
    """A program with its configuration file and log file."""

    def __init__(self, program: tuple[str, ...], directory: Path, settings: str) -> None:
        self._arguments = (*program, "--config", str(directory.with_suffix(".toml")))
        self._log = directory.with_suffix(".log")
        directory.with_suffix(".toml").write_text(settings)
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, command: str, event: str) -> dict[str, object]:
        """Start `command`; return the fields of its first log line with `event`."""
        self._process = process = await self._spawn(command)
        logged: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.ensure_future(self._read_log(process, event, logged))
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await logged
        except TimeoutError:
            raise ProcessFailedError(
                f"{command} did not log {event} in time: see {self._log}"
            ) from None

    async def output_of(self, *command: str) -> str:
        """Run `command` to completion; return its standard output."""
        process = await self._spawn(*command, stdout=PIPE)
        output, errors = await process.communicate()
        if process.returncode:
            raise ProcessFailedError(errors.decode(errors="replace"))
        return output.decode().strip()

    async def crash(self) -> None:
        """Kill the process (SIGKILL)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._wait_until_ended()

    async def stop(self) -> None:
        """Terminate the process; kill it after a timeout. Idempotent."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._wait_until_ended()

    async def _spawn(self, *command: str, stdout: int | None = None) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *self._arguments, *command),
            env=_environment(),
            stdin=DEVNULL,
            stdout=stdout,
            stderr=PIPE,
        )

    async def _wait_until_ended(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._reading is not None:
            await process.wait()
            await self._reading

    async def _read_log(
        self, process: Process, event: str, logged: "asyncio.Future[dict[str, object]]"
    ) -> None:
        with self._log.open("ab") as log:
            while process.stderr and (line := await process.stderr.readline()):
                log.write(line)
                fields = _fields(line)
                if fields.get("event") == event and not logged.done():
                    logged.set_result(fields)
        if not logged.done():
            logged.set_exception(ProcessFailedError(f"the process ended: {_last_lines(self._log)}"))


def prepare_receiver(directory: Path, port: int = 0) -> ProgramProcess:
    """Return a receiver on `port` (0: any free port) with its database in `directory`."""
    return ProgramProcess(
        _RECEIVER,
        directory,
        f"[server]\nport = {port}\n[storage]\ndirectory = {_quoted(directory)}\n"
        '[log]\nformat = "json"\n',
    )


async def enroll(receiver: ProgramProcess, store: str = STORE, till: str = TILL) -> str:
    """Enroll an agent; return its token."""
    return await receiver.output_of("enroll", store, till)


def prepare_agent(directory: Path, port: int, central_url: str, token_file: Path) -> ProgramProcess:
    """Return an agent on `port` that delivers to `central_url`."""
    return ProgramProcess(
        _AGENT,
        directory,
        f'[store]\nstore_id = "{STORE}"\ntill_id = "{TILL}"\n'
        f"[api]\nport = {port}\n[storage]\ndirectory = {_quoted(directory)}\n"
        f'[central]\nurl = "{central_url}"\n'
        f'[central.auth]\nkind = "bearer"\ntoken_file = {_quoted(token_file)}\n'
        "[sync]\ninterval_seconds = 1\ntimeout_seconds = 5\nbackoff_base_seconds = 0.2\n"
        'backoff_cap_seconds = 1\n[log]\nformat = "json"\n',
    )


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Return the environment without variables that configure agent or receiver."""
    prefixes = ("LOYALTY_AGENT__", "LOYALTY_HQ__", "STATE_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def _quoted(path: Path) -> str:
    return json.dumps(str(path))


def _fields(line: bytes) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _last_lines(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:])
