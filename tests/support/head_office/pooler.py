"""PgBouncer in transaction mode before a PostgreSQL server of the tests: Debian's, if installed."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from agent.drill.processes import free_port

# Of the tests' PostgreSQL: neither program runs as root.
_USER = "pgserver"
_STARTING_SECONDS = 20
# Fewer than a receiver uses: each transaction may get any of them.
_SERVER_CONNECTIONS = 3
_CONFIGURATION = """
[databases]
* = host={host} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
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


@contextmanager
def pooled(url: str, *, follows: bool = False) -> Iterator[str]:
    """Run PgBouncer before the server of `url`; yield the URL of the same database through it."""
    program, port = _program(), free_port()
    assert program is not None
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    directory.chmod(0o755)
    file = directory / "pgbouncer.ini"
    text = _CONFIGURATION.format(
        host=make_url(url).query["host"], port=port, connections=_SERVER_CONNECTIONS
    )
    if follows_statements():
        text += f"max_prepared_statements = {100 if follows else 0}\n"
    file.write_text(text)
    user = _USER if os.geteuid() == 0 else None
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, file], user=user, stderr=log, stdout=log)
    try:
        _wait_until_it_listens(directory / "log", process)
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{make_url(url).database}"
    finally:
        # Newer ones wait for their clients at a SIGTERM.
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def _wait_until_it_listens(log: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _STARTING_SECONDS
    while "process up" not in (said := log.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.01)


def _program() -> str | None:
    # Not on the PATH of every user.
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
