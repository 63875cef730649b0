"""PgBouncer in transaction mode before a PostgreSQL server of the tests: Debian's, if installed."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from agent.drill.processes import free_port
from tests.support.patience import PATIENCE_SECONDS

# Of the tests' PostgreSQL: neither program runs as root.
_USER = "pgserver"
_CONFIGURATION = """
[databases]
* = host={host} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
admin_users = postgres
pool_mode = transaction
server_round_robin = 1
"""
# With this one, statements are followed. Older ones do not start with the setting.
_FOLLOWS = (1, 21)


def pooler_version() -> tuple[int, ...]:
    """Return the version of PgBouncer; skip the test where it is not installed."""
    program = _program()
    if program is None:
        pytest.skip("needs PgBouncer (on Debian: apt-get install pgbouncer)")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"(\d+)\.(\d+)", said.stdout)
    assert found is not None, said.stdout
    return int(found[1]), int(found[2])


def follows_statements() -> bool:
    """Return whether the installed PgBouncer can follow prepared statements."""
    return pooler_version() >= _FOLLOWS


@dataclass(slots=True)
class Pooler:
    """A running PgBouncer. `limits`: further settings, by their names."""

    directory: Path
    port: int
    limits: Mapping[str, int]
    _process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return the receiver's setting for a database through the pooler."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def point_at(self, host: str, port: int | None = None) -> None:
        """Write its configuration: where the server is."""
        limits = "".join(f"{name} = {value}\n" for name, value in self.limits.items())
        at = f"{host} port={port}" if port else host
        self._file.write_text(_CONFIGURATION.format(host=at, port=self.port) + limits)

    def start(self) -> None:
        """Start it; return once it listens."""
        program, log = _program(), self.directory / "log"
        assert program is not None
        user = _USER if os.geteuid() == 0 else None
        with log.open("wb") as file:
            command = [program, str(self._file)]
            self._process = subprocess.Popen(command, user=user, stderr=file, stdout=file)
        _wait_until_it_listens(log, self._process)

    def end(self) -> None:
        """End it at once: newer ones wait for their clients at a SIGTERM."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def order(self, command: str) -> None:
        """Give it an order at its console, such as RELOAD or PAUSE."""
        console = await asyncpg.connect(self.url("pgbouncer").replace("+asyncpg", ""))
        try:
            await console.execute(command)
        finally:
            console.terminate()

    @property
    def _file(self) -> Path:
        return self.directory / "pgbouncer.ini"


@contextmanager
def running_pooler(host: str, port: int | None = None, **limits: int) -> Iterator[Pooler]:
    """Run PgBouncer before a server; `limits` replace its settings."""
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    directory.chmod(0o755)
    # Fewer than a receiver uses: each transaction may get any of them.
    pooler = Pooler(directory, free_port(), {"default_pool_size": 3} | limits)
    pooler.point_at(host, port)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.end()
        shutil.rmtree(directory)


@contextmanager
def pooled(url: str, *, follows: bool = False) -> Iterator[str]:
    """Run PgBouncer before the server of `url`; yield the URL of the same database through it."""
    limits = {"max_prepared_statements": 100 if follows else 0} if follows_statements() else {}
    server = make_url(url)
    with running_pooler(str(server.query["host"]), **limits) as pooler:
        yield pooler.url(str(server.database))


def _wait_until_it_listens(log: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while "process up" not in (said := log.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.01)


def _program() -> str | None:
    # Not on the PATH of every user.
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
