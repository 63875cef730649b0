"""The real agent in this process: a socket on a free port, a database in a scratch directory."""

import asyncio
import json
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

from agent.config import Settings
from agent.config.settings import ApiSettings, StorageSettings
from agent.facts import Moment
from agent.service import RunningAgent, running_agent
from agent.store.db.connect import DATABASE_FILE
from tests.agent.raw_http import Answer, ask

SESSIONS = "/client/users/anonymous/sessions"
PATIENCE_SECONDS = 10.0

# A table and the values of a row of it.
Row = tuple[str | int, ...]


class Clock:
    """The agent's clock: stands where the test puts it, and fails on demand."""

    def __init__(self, wall_us: int = 1_767_225_600_000_000) -> None:
        self.wall_us = wall_us
        self.broken = False

    def __call__(self) -> Moment:
        if self.broken:
            raise RuntimeError("the clock is broken")
        return Moment(wall_us=self.wall_us, monotonic_us=self.wall_us)


def settings_in(directory: Path, **sections: object) -> Settings:
    """Return settings for a storage directory, on a free port; a section given replaces ours."""
    storage = StorageSettings(directory=directory, min_free_bytes=0, ballast_bytes=0)
    return Settings.model_validate({"storage": storage, "api": ApiSettings(port=0)} | sections)


def email_path(correlation_id: str) -> str:
    """Return the path of *set e-mail* for an id, percent-encoded."""
    return f"/client/users/{quote(correlation_id, safe='')}/profile/email"


def state_path(correlation_id: str) -> str:
    """Return the path that tells where a session stands, percent-encoded."""
    return f"/agent/v1/sessions/{quote(correlation_id, safe='')}"


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent, and a till that talks to it."""

    address: RunningAgent
    directory: Path
    client: aiohttp.ClientSession
    scheme: str = "http"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        # Where every address is listened on, a till on this machine calls by the loopback one.
        host = "127.0.0.1" if self.address.host == "0.0.0.0" else self.address.host  # noqa: S104 - compared
        return f"{self.scheme}://{host}:{self.address.port}"

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with exactly this path, body and headers; take the answer."""
        url = URL(self.origin + path, encoded=True)
        async with self.client.request(method, url, data=body, headers=headers) as response:
            content = await response.read()
            return Answer(response.status, tuple(response.headers.items()), content)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path."""
        return await self.request("GET", path, headers=headers)

    async def start_session(
        self, body: bytes | Mapping[str, object], query: str = "", **headers: str
    ) -> Answer:
        """Start a session with these bytes, or these members as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", SESSIONS + query, content, headers)

    async def set_email(
        self, correlation_id: str, body: bytes | Mapping[str, object], **headers: str
    ) -> Answer:
        """Answer the e-mail prompt of a session with these bytes, or these members as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("PUT", email_path(correlation_id), content, headers)

    async def ask(self, request: bytes, *, answers: int = 1) -> list[Answer]:
        """Send raw bytes on a connection of their own; take so many answers."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await ask(self.address.host, self.address.port, request, answers)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Read from the agent's database, on a connection of our own."""
        return rows_in(self.directory, query)

    def bodies(self) -> list[bytes]:
        """Return the body of every event kept, in order."""
        rows = self.rows("SELECT body FROM event ORDER BY position")
        return [body for (body,) in rows if isinstance(body, bytes)]


def rows_in(directory: Path, query: str) -> list[tuple[object, ...]]:
    """Read from the database of a storage directory."""
    uri = f"{(directory / DATABASE_FILE).as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(query).fetchall()


def insert_in(directory: Path, *rows: Row) -> None:
    """Add rows to the database of a storage directory whose agent is stopped.

    A row gives the values of its table's first columns; the others have a default.
    """
    with closing(sqlite3.connect(directory / DATABASE_FILE)) as connection, connection:
        for table, *values in rows:
            known = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            columns = ", ".join(known[: len(values)])
            places = ", ".join("?" * len(values))
            insert = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - the test's own tables
            connection.execute(insert, values)


@asynccontextmanager
async def agent_under_test(
    settings: Settings, clock: Callable[[], Moment] | None = None
) -> AsyncIterator[Agent]:
    """Run an agent until it has looked at its disk, and a till beside it.

    A till of an agent with TLS trusts its certificate and no other.
    """
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    certificate = settings.api.tls_cert_file
    trust = ssl.create_default_context(cafile=certificate) if certificate else True
    async with (
        running_agent(settings, now=clock) as address,
        # Nothing between test and agent is to add a header or wait for a free connection.
        aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=0, ssl=trust),
            skip_auto_headers=["Content-Type", "User-Agent"],
        ) as client,
    ):
        scheme = "https" if certificate else "http"
        agent = Agent(address, settings.storage.directory, client, scheme)
        await agent.get("/readyz")
        yield agent


@contextmanager
def agent_in_a_thread(settings: Settings) -> Iterator[RunningAgent]:
    """Run an agent on an event loop of its own, beside a test that blocks."""
    started: Future[tuple[RunningAgent, Callable[[], object]]] = Future()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with running_agent(settings) as agent:
            started.set_result((agent, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    with ThreadPoolExecutor(max_workers=1) as thread:
        ended = thread.submit(asyncio.run, run())
        agent, stop = started.result(PATIENCE_SECONDS)
        try:
            yield agent
        finally:
            stop()
            ended.result(PATIENCE_SECONDS)
