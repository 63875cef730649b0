"""Starts and stops the measured servers: child processes on free ports."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT, clean_environment, free_port

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
AGENT_CONFIG = """\
[api]
port = {port}
[storage]
directory = "{directory}"
[log]
level = "warning"
"""


class Kind(StrEnum):
    """Servers that can be measured."""

    BARE = "bare"
    AGENT = "agent"
    FASTAPI = "fastapi"


class Server(NamedTuple):
    """A running server with its files in `directory`."""

    kind: Kind
    port: int
    process: subprocess.Popen[bytes]
    directory: Path

    def cpu_seconds(self) -> float | None:
        """Return the CPU time used by the server; None if /proc is not available."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def output_tail(self) -> str:
        """Return the end of the server's output."""
        return (self.directory / "output").read_text(errors="replace")[-2000:]


class ServerError(RuntimeError):
    """A server did not start, or exited early."""


@contextmanager
def running(
    kind: Kind, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server with a new database during the block. Raises ServerError."""
    directory.mkdir(parents=True)
    port = free_port()
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            command(kind, port, directory),
            cwd=ROOT,
            env={**clean_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must reach only the benchmark, which stops the servers itself.
            start_new_session=True,
        )
    server = Server(kind, port, process, directory)
    try:
        wait_until_ready(server)
        yield server
    finally:
        stop(process)


def command(kind: Kind, port: int, directory: Path) -> list[str]:
    """Return the command that starts the server; the agent's is the documented one."""
    if kind is Kind.AGENT:
        config = directory / "config.toml"
        config.write_text(AGENT_CONFIG.format(port=port, directory=directory / "state"))
        return [sys.executable, "-m", "agent", "--config", str(config), "run"]
    if kind is Kind.BARE:
        return [sys.executable, "-m", "tests.bench.peers.bare", "--port", str(port)]
    peer = [sys.executable, "-m", "tests.bench.peers.fastapi_sqlmodel", "--port", str(port)]
    return [*peer, "--directory", str(directory)]


def wait_until_ready(server: Server) -> None:
    """Poll /readyz until it returns 200. Raises ServerError on timeout or exit."""
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready(server.port):
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"{server.kind} did not become ready:\n{server.output_tail()}")
        time.sleep(0.05)


def is_ready(port: int) -> bool:
    """Return whether /readyz returns 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate this process; kill it after STOP_SECONDS."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
