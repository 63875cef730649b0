"""The real agent in the test process, on a free port with a database in a temporary directory."""

import asyncio
import json
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp.test_utils import BaseTestServer, TestClient
from aiohttp.typedefs import StrOrURL
from aiohttp.web import BaseRunner
from yarl import URL

from agent.config import Settings
from agent.config.settings import StorageSettings
from agent.facts import Timestamp
from agent.service import running_agent
from agent.store.db.connect import DATABASE_FILE
from sync.runtime.process import RunningService
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse, exchange
from tests.support.sqlite import rows_in
from tests.support.threads import running_in_a_thread

SESSIONS = "/client/users/anonymous/sessions"

# Table name and the values of one row.
Row = tuple[str | int, ...]


def settings_in(directory: Path, **sections: object) -> Settings:
    """Return settings for a storage directory and a free port; `sections` override them."""
    storage = StorageSettings(directory=directory, min_free_bytes=0, ballast_bytes=0)
    if isinstance(api := sections.get("api", {}), Mapping):
        sections["api"] = {"port": 0, **api}  # an agent may run on this machine
    return Settings.model_validate({"storage": storage} | sections)


def email_path(correlation_id: str) -> str:
    """Return the path of *set e-mail* for an id, percent-encoded."""
    return f"/client/users/{quote(correlation_id, safe='')}/profile/email"


def state_path(correlation_id: str) -> str:
    """Return the path of the session state for an id, percent-encoded."""
    return f"/agent/v1/sessions/{quote(correlation_id, safe='')}"


class AgentServer(BaseTestServer):
    """An agent as a server for `aiohttp_client`: `start_server` starts it, `close` stops it."""

    def __init__(self, settings: Settings, clock: Callable[[], Timestamp] | None = None) -> None:
        super().__init__(scheme="https" if settings.api.tls_cert_file else "http")
        self.settings = settings
        self._clock = clock
        self._stack = AsyncExitStack()
        self.address: RunningService

    async def start_server(self, loop: object = None, **_: object) -> None:
        """Start the agent on a free port."""
        running = running_agent(self.settings, now=self._clock)
        self.address = await self._stack.enter_async_context(running)

    async def close(self) -> None:
        """Stop the agent. Idempotent."""
        await self._stack.aclose()

    def make_url(self, path: StrOrURL) -> URL:
        """Return the URL of a path, which is already percent-encoded."""
        # An agent that listens on all addresses is called by the loopback one.
        host = "127.0.0.1" if self.address.host == "0.0.0.0" else self.address.host  # noqa: S104 - compared
        return URL(f"{self.scheme}://{host}:{self.address.port}{path}", encoded=True)

    async def _make_runner(self, **_: object) -> BaseRunner:
        raise NotImplementedError("the agent has its own server")

    def client_options(self) -> dict[str, Any]:
        """Return the options of a client that trusts only the agent's certificate.

        It must not add a header or wait for a free connection.
        """
        certificate = self.settings.api.tls_cert_file
        trust = ssl.create_default_context(cafile=certificate) if certificate else True
        return {
            "timeout": aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
            "connector": aiohttp.TCPConnector(limit=0, ssl=trust),
            "skip_auto_headers": ["Content-Type", "User-Agent"],
        }


class Agent:
    """A running agent and a client for it."""

    def __init__(self, server: AgentServer, client: TestClient[Any, Any]) -> None:
        self.address = server.address
        self.directory = server.settings.storage.directory
        self._client = client
        self._recorded_before = 0

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request with exactly this path, body and headers; return the answer."""
        async with self._client.request(method, path, data=body, headers=headers) as response:
            content = await response.read()
            return HttpResponse(response.status, tuple(response.headers.items()), content)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
        """GET a path."""
        return await self.request("GET", path, headers=headers)

    async def start_session(
        self, body: bytes | Mapping[str, object], query: str = "", **headers: str
    ) -> HttpResponse:
        """Send a session start with these bytes, or these members as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", SESSIONS + query, content, headers)

    async def set_email(
        self, correlation_id: str, body: bytes | Mapping[str, object], **headers: str
    ) -> HttpResponse:
        """Send an e-mail answer with these bytes, or these members as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("PUT", email_path(correlation_id), content, headers)

    async def send_raw(self, request: bytes, *, answers: int = 1) -> list[HttpResponse]:
        """Send raw bytes on a new connection; return this number of answers."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await exchange(self.address.host, self.address.port, request, answers)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Query the agent's database on a separate connection."""
        return rows_in(self.directory / DATABASE_FILE, query)

    def bodies(self) -> list[bytes]:
        """Return the bodies of all stored events, in order, since `ignore_recorded()` if called."""
        since = f"WHERE position > {self._recorded_before}"
        rows = self.rows(f"SELECT body FROM event {since} ORDER BY position")  # noqa: S608 - a number
        return [body for (body,) in rows if isinstance(body, bytes)]

    def ignore_recorded(self) -> None:
        """Leave the events recorded so far out of `bodies()`."""
        [(position,)] = self.rows("SELECT coalesce(max(position), 0) FROM event")
        assert isinstance(position, int)
        self._recorded_before = position


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
    """Run an agent, wait until its store is open, and connect a client."""
    server = AgentServer(settings, clock)
    client: TestClient[Any, Any] = TestClient(server, **server.client_options())
    async with client:
        yield await ready(server, client)


async def ready(server: AgentServer, client: TestClient[Any, Any]) -> Agent:
    """Return the agent once its store is open."""
    agent = Agent(server, client)
    await agent.get("/readyz")
    return agent


class SharedAgentServer(AgentServer):
    """An agent that runs already, and goes on when the client is closed."""

    def __init__(self, settings: Settings, address: RunningService) -> None:
        super().__init__(settings)
        self.address = address

    async def start_server(self, loop: object = None, **_: object) -> None:
        """Do nothing."""


@contextmanager
def agent_in_a_thread(
    settings: Settings, clock: Callable[[], Timestamp] | None = None
) -> Iterator[RunningService]:
    """Run an agent on its own event loop in a thread, for tests that block or share it."""
    with running_in_a_thread(running_agent(settings, now=clock)) as agent:
        yield agent
