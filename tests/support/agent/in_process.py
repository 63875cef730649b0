"""The real agent in the test process, on a free port with a database in a temporary directory."""

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
from agent.facts import Timestamp
from agent.service import RunningAgent, running_agent
from agent.store.db.connect import DATABASE_FILE
from tests.support.raw_http import Answer, ask
from tests.support.sqlite import rows_in

SESSIONS = "/client/users/anonymous/sessions"
PATIENCE_SECONDS = 10.0

# Table name and the values of one row.
Row = tuple[str | int, ...]


def settings_in(directory: Path, **sections: object) -> Settings:
    """Return settings for a storage directory and a free port; `sections` override them."""
    storage = StorageSettings(directory=directory, min_free_bytes=0, ballast_bytes=0)
    return Settings.model_validate({"storage": storage, "api": ApiSettings(port=0)} | sections)


def email_path(correlation_id: str) -> str:
    """Return the path of *set e-mail* for an id, percent-encoded."""
    return f"/client/users/{quote(correlation_id, safe='')}/profile/email"


def state_path(correlation_id: str) -> str:
    """Return the path of the session state for an id, percent-encoded."""
    return f"/agent/v1/sessions/{quote(correlation_id, safe='')}"


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent and a client for it."""

    address: RunningAgent
    directory: Path
    client: aiohttp.ClientSession
    scheme: str = "http"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        # An agent that listens on all addresses is called by the loopback one.
        host = "127.0.0.1" if self.address.host == "0.0.0.0" else self.address.host  # noqa: S104 - compared
        return f"{self.scheme}://{host}:{self.address.port}"

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with exactly this path, body and headers; return the answer."""
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
        """Send a session start with these bytes, or these members as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", SESSIONS + query, content, headers)

    async def set_email(
        self, correlation_id: str, body: bytes | Mapping[str, object], **headers: str
    ) -> Answer:
        """Send an e-mail answer with these bytes, or these members as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("PUT", email_path(correlation_id), content, headers)

    async def ask(self, request: bytes, *, answers: int = 1) -> list[Answer]:
        """Send raw bytes on a new connection; return this number of answers."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await ask(self.address.host, self.address.port, request, answers)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Query the agent's database on a separate connection."""
        return rows_in(self.directory / DATABASE_FILE, query)

    def bodies(self) -> list[bytes]:
        """Return the bodies of all stored events, in order."""
        rows = self.rows("SELECT body FROM event ORDER BY position")
        return [body for (body,) in rows if isinstance(body, bytes)]


def insert_in(directory: Path, *rows: Row) -> None:
    """Insert rows into the database of a stopped agent.

    A row has the values of the first columns of its table; the others get their default.
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
    settings: Settings, clock: Callable[[], Timestamp] | None = None
) -> AsyncIterator[Agent]:
    """Run an agent, wait until its store is open, and connect a client.

    The client of an agent with TLS trusts only its certificate.
    """
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    certificate = settings.api.tls_cert_file
    trust = ssl.create_default_context(cafile=certificate) if certificate else True
    async with (
        running_agent(settings, now=clock) as address,
        # The client must not add a header or wait for a free connection.
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
    """Run an agent on its own event loop in a thread, for tests that block."""
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
