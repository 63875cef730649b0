"""Nobody reads standard error: a full pipe, as of a stalled journal, holds no request."""

import asyncio
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.support.agent.process import AGENT
from tests.support.head_office.process import HQ
from tests.support.notify_socket import Manager, manager_in
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT, clean_environment, free_port
from tests.support.till.requests import Requests, fresh_pair, get, send_request

pytestmark = pytest.mark.process
PAGE_BYTES = 4_096
LINES = 20_000
BURST = 5_000
LOG_MUCH = f"""
import logging, signal, sys
signal.alarm({PATIENCE_SECONDS:.0f})
from sync.runtime.logging import configure_logging, log_event
configure_logging("info", "json")
for number in range({LINES}):
    log_event(logging.getLogger("agent.test"), logging.INFO, "x.y", number=number)
print("logged", flush=True)
"""


class UnreadPipe:
    """A full pipe of one page; nobody reads it but its methods."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self._file = os.fdopen(reading, "rb")
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PAGE_BYTES)
        os.write(self.writing, b"\n" * PAGE_BYTES)

    def read_until(self, event: str) -> list[dict[str, object]]:
        """Return the lines of the log up to the first one of `event`."""
        lines: list[dict[str, object]] = []
        while not lines or lines[-1]["event"] != event:
            if line := self._file.readline().strip():
                lines.append(json.loads(line))
        return lines

    def read_all(self) -> list[dict[str, object]]:
        """Read until the process has ended; return the lines of the log."""
        self.close_writing()
        return [json.loads(line) for line in self._file if line.strip()]

    def close_writing(self) -> None:
        """Leave the writing end to the process alone. Idempotent."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Close both ends."""
        self.close_writing()
        self._file.close()


@asynccontextmanager
async def logging_into(
    pipe: UnreadPipe, manager: Manager, config: Path, *command: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command[:-1],
        *("--config", str(config), command[-1]),
        cwd=ROOT,
        env=clean_environment() | manager.environ,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=pipe.writing,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


PROGRAMS = pytest.mark.parametrize(
    ("program", "section", "command"),
    [(AGENT, "api", "run"), (HQ, "server", "serve")],
    ids=["loyalty-agent", "loyalty-hq"],
)


@PROGRAMS
async def test_service_serves_and_stops_while_nobody_reads_its_log(
    tmp_path: Path, program: tuple[str, ...], section: str, command: str
) -> None:
    config, port = tmp_path / "config.toml", free_port()
    state = f'[{section}]\nport = {port}\n[storage]\ndirectory = "{tmp_path / "state"}"\n'
    config.write_text(state + '[log]\nformat = "json"\nlevel = "debug"\n')
    with closing(UnreadPipe()) as pipe, manager_in(tmp_path) as manager:
        async with logging_into(pipe, manager, config, *program, command) as process:
            await manager.hears_at_last("READY=1")
            assert (await get(port, "/readyz")).status == 200
            if program is AGENT:
                session = Requests("127.0.0.1", port).session(fresh_pair())
                assert (await send_request(port, session)).status == 200
            # Each of these is a line of the log.
            refused = {(await get(port, f"/none/{number}")).status for number in range(50)}
            assert refused <= {401, 404}

            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await process.wait() == 0


async def test_log_is_complete_once_somebody_reads_it(tmp_path: Path) -> None:
    config, port = tmp_path / "config.toml", free_port()
    state = f'[api]\nport = {port}\n[storage]\ndirectory = "{tmp_path / "state"}"\n'
    config.write_text(state + '[log]\nformat = "json"\n')
    with closing(UnreadPipe()) as pipe, manager_in(tmp_path) as manager:
        async with logging_into(pipe, manager, config, *AGENT, "run") as process:
            await manager.hears_at_last("READY=1")
            assert (await get(port, "/none")).status == 404
            reading = asyncio.create_task(asyncio.to_thread(pipe.read_all))
            process.send_signal(signal.SIGTERM)
            events = [line["event"] for line in await reading]

    assert events[0] == "agent.starting"
    assert events[-1] == "agent.stopping"
    assert {"store.opened", "agent.serving", "request.refused"} <= set(events)
    assert "log.lines_dropped" not in events


def test_lines_beyond_the_buffer_are_dropped_and_counted() -> None:
    with closing(UnreadPipe()) as pipe:
        program = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"{LOG_MUCH}\nsys.stdin.read()\nlogging.getLogger('agent').error('z.z')",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=pipe.writing,
        )
        with program:
            assert program.stdout is not None
            assert program.stdin is not None
            assert program.stdout.readline() == b"logged\n"
            lines = pipe.read_until("log.lines_dropped")
            program.stdin.close()
            lines += pipe.read_all()

    *_, gap, last = lines
    numbers = [line["number"] for line in lines[:-2]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + int(str(gap["dropped"])) == LINES
    assert last["event"] == "z.z"


def test_lines_of_a_burst_are_all_written_before_the_process_ends() -> None:
    program = [sys.executable, "-c", LOG_MUCH.replace(str(LINES), str(BURST))]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, check=True)

    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["number"] for line in lines] == list(range(BURST))


@pytest.mark.parametrize(
    ("program", "command"),
    [(AGENT, "run"), (HQ, "serve")],
    ids=["loyalty-agent", "loyalty-hq"],
)
async def test_service_with_a_wrong_setting_ends_though_nobody_reads_its_message(
    tmp_path: Path, program: tuple[str, ...], command: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[lgo]\n")
    with closing(UnreadPipe()) as pipe, manager_in(tmp_path) as manager:
        async with logging_into(pipe, manager, config, *program, command) as process:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await process.wait() == 2


@PROGRAMS
async def test_dropped_lines_are_a_metric(
    tmp_path: Path, program: tuple[str, ...], section: str, command: str
) -> None:
    config, port = tmp_path / "config.toml", free_port()
    state = f'[{section}]\nport = {port}\n[storage]\ndirectory = "{tmp_path / "state"}"\n'
    config.write_text(state + ("" if program is AGENT else "[access]\nopen_on_loopback = true\n"))
    with closing(UnreadPipe()) as pipe, manager_in(tmp_path) as manager:
        # The disk of the log is full.
        pipe.close_writing()
        pipe.writing = os.open("/dev/full", os.O_WRONLY)
        async with logging_into(pipe, manager, config, *program, command):
            await manager.hears_at_last("READY=1")
            metrics = (await get(port, "/metrics")).body.decode()

    dropped = re.search(r"^\w+_log_lines_dropped_total (\S+)", metrics, re.MULTILINE)
    assert dropped is not None
    assert float(dropped[1]) > 1
