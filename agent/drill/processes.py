"""Agent and receiver as subprocesses in a temporary directory."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path

NAMES = ("drill-store", "drill-till")
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
# Becomes the program in its arguments, which the kernel kills when this process ends, however it
# does (PR_SET_PDEATHSIG survives exec). A `preexec_fn` could deadlock beside threads.
_ENDS_WITH_PARENT = """
import contextlib, ctypes, os, signal, sys
with contextlib.suppress(AttributeError):  # Linux alone has it
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit()
os.execv(sys.argv[2], sys.argv[2:])
"""


class ProcessFailedError(Exception):
    """A subprocess failed to start; the message holds its last log lines."""


class ProgramProcess:
    """A program, a Python module, with its configuration file and log file."""

    def __init__(self, module: str, directory: Path, settings: str) -> None:
        config = directory.with_suffix(".toml")
        config.write_text(settings)
        # -P: no module of the current directory, which may be another user's.
        python = (sys.executable, "-P")
        program = (*python, "-m", module, "--config", str(config))
        self._command = (*python, "-c", _ENDS_WITH_PARENT, str(os.getpid()), *program)
        self._log = directory.with_suffix(".log")
        self._process: Process | None = None
        self._reading: asyncio.Task[object] | None = None

    async def start(self, command: str, event: str) -> dict[str, object]:
        """Start `command`; return the fields of its first log line with `event`."""
        self._process = process = await self._spawn(command)
        try:
            async with asyncio.timeout(_START_SECONDS):
                fields = await self._read_log(process, until=event)
        except TimeoutError:
            message = f"{command} did not log {event} in time: see {self._log}"
            raise ProcessFailedError(message) from None
        if not fields:
            last_lines = " / ".join(self._log.read_text(errors="replace").splitlines()[-3:])
            raise ProcessFailedError(f"the process ended: {last_lines}")
        self._reading = asyncio.ensure_future(self._read_log(process))
        return fields

    async def output_of(self, *command: str) -> str:
        """Run `command` to completion; return its standard output."""
        process = await self._spawn(*command, stdout=PIPE)
        output, errors = await process.communicate()
        if process.returncode:
            raise ProcessFailedError(errors.decode(errors="replace"))
        return output.decode().strip()

    async def crash(self) -> None:
        """Kill the process (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Terminate the process; kill it after a timeout. Idempotent."""
        await self._end(signal.SIGTERM)

    async def _end(self, signal_number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal_number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _spawn(self, *command: str, stdout: int = DEVNULL) -> Process:
        env = {name: value for name, value in os.environ.items() if not _configures(name)}
        return await asyncio.create_subprocess_exec(
            *self._command, *command, env=env, stdin=DEVNULL, stdout=stdout, stderr=PIPE
        )

    async def _read_log(self, process: Process, until: str = "") -> dict[str, object]:
        """Copy the log to its file; return the fields of event `until`, none if it ends before."""
        with self._log.open("ab") as log:
            while process.stderr and (line := await process.stderr.readline()):
                log.write(line)
                with contextlib.suppress(ValueError):
                    fields = json.loads(line)
                    if isinstance(fields, dict) and fields.get("event") == until:
                        return fields
        return {}


def prepare_receiver(directory: Path, port: int = 0) -> ProgramProcess:
    """Return a receiver on `port` (0: any free port) with its database in `directory`."""
    settings = f"""
        server.port = {port}
        storage.directory = {_quoted(directory)}
        log.format = "json"
    """
    return ProgramProcess("sync.receiver", directory, settings)


def prepare_agent(directory: Path, port: int, central_url: str, token_file: Path) -> ProgramProcess:
    """Return an agent on `port` that delivers to `central_url`."""
    settings = f"""
        store = {{ store_id = "{NAMES[0]}", till_id = "{NAMES[1]}" }}
        api.port = {port}
        storage.directory = {_quoted(directory)}
        central.url = "{central_url}"
        central.auth = {{ kind = "bearer", token_file = {_quoted(token_file)} }}
        sync.interval_seconds = 1
        sync.timeout_seconds = 5
        sync.backoff_base_seconds = 0.2
        sync.backoff_cap_seconds = 1
        log.format = "json"
    """
    return ProgramProcess("agent", directory, settings)


def prepare_lone_agent(
    directory: Path, port: int, names: tuple[str, str], cors_origins: Sequence[str] = ()
) -> ProgramProcess:
    """Return an agent on `port` that captures only: it knows no head office."""
    settings = f"""
        store = {{ store_id = "{names[0]}", till_id = "{names[1]}" }}
        api.port = {port}
        api.cors_origins = {json.dumps([*cors_origins])}
        storage.directory = {_quoted(directory)}
        log.format = "json"
    """
    return ProgramProcess("agent", directory, settings)


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configures(variable: str) -> bool:
    """Return whether a variable configures the programs of this machine, in any case of letters."""
    return variable.upper().startswith(("LOYALTY_AGENT__", "LOYALTY_HQ__", "STATE_DIRECTORY"))


def _quoted(path: Path) -> str:
    return json.dumps(str(path))
