"""The real receiver on its own file, in this process or in one that can be killed."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from agent.drill.processes import ProgramProcess, free_port, prepare_receiver
from sync.receiver.auth.tokens import AgentName
from sync.receiver.config import DATABASE_FILE, ReceiverSettings
from sync.receiver.service import RunningReceiver, running_receiver
from tests.support.central import Answer, FaultServer, Request
from tests.support.head_office.enrolment import issue_token
from tests.support.sqlite import rows_in

STORE = "store-1"
TILL = "till-1"
_CARRIED = ("Authorization", "Content-Type", "Content-Encoding", "If-None-Match")


class RestartableReceiver:
    """The receiver in this process. While stopped, its file can be copied and replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._port = 0
        self._parts = AsyncExitStack()
        self._running: RunningReceiver | None = None

    @property
    def url(self) -> str:
        """Return the base URL, also while stopped."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def database(self) -> Path:
        """Return the path of the database file."""
        return self.directory / DATABASE_FILE

    async def start(self) -> None:
        """Serve; after a stop, on the same port as before."""
        settings = ReceiverSettings.model_validate(
            {"server": {"port": self._port}, "storage": {"directory": str(self.directory)}}
        )
        self._running = await self._parts.enter_async_context(running_receiver(settings))
        self._port = self._running.port

    async def stop(self) -> None:
        """Stop serving; the file keeps its data. Idempotent."""
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def enroll(self, till: str = TILL) -> Path:
        """Enroll an agent; return the file with its token."""
        assert self._running is not None
        name, now = AgentName(STORE, till), datetime.now(UTC)
        secret = till.encode().ljust(32, b"-")
        return keep_token(
            self.directory / f"{till}.token",
            await issue_token(self._running.enrolment, name, secret, now),
        )

    async def back_up(self, *, but: str | None = None) -> Path:
        """Stop, return a copy of the database file, and start again.

        `but` is an SQL statement to run before the copy, as a manual change of the data.
        """
        await self.stop()
        if but is not None:
            with closing(sqlite3.connect(self.database)) as connection, connection:
                connection.execute(but)
        copy = shutil.copy(self.database, self.directory / "backup.db")
        await self.start()
        return Path(copy)

    async def restore(self, copy: Path) -> None:
        """Stop, replace the database file by a copy, and start again."""
        await self.stop()
        shutil.copy(copy, self.database)
        await self.start()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Query the database on a separate connection."""
        return rows_in(self.database, query)


class FaultProxy(FaultServer):
    """A proxy to a server; requests meet scripted faults or are forwarded."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        if self._client is not None:
            await self._client.close()

    async def serve(self, request: Request) -> Answer:
        """Forward the request and its answer."""
        assert self._client is not None
        headers = {name: request.headers[name] for name in _CARRIED if name in request.headers}
        url = URL(self._url + request.path, encoded=True).with_query(request.query)
        async with self._client.request(
            request.method, url, data=request.body, headers=headers
        ) as answer:
            body = await answer.read()
            kept = {"Content-Type", "ETag", "Retry-After"} & answer.headers.keys()
            return Answer(answer.status, body, {name: answer.headers[name] for name in kept})


@asynccontextmanager
async def receiver_part(directory: Path) -> AsyncIterator[tuple[ProgramProcess, str, Path]]:
    """Yield a receiver in a child process, its URL, and the file with a token.

    It is not started yet; after a kill it starts on the same file and port.
    """
    port = free_port()
    receiver = prepare_receiver(directory, port)
    token = await receiver.output_of("enroll", STORE, TILL)
    token_file = keep_token(directory.with_suffix(".token"), token)
    try:
        yield receiver, f"http://127.0.0.1:{port}", token_file
    finally:
        await receiver.stop()


def keep_token(file: Path, token: str) -> Path:
    """Write a token to the file that the agent reads."""
    file.touch(mode=0o600)
    file.write_text(token)
    return file
