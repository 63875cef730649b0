"""The real receiver in the test's process: a socket on a free port, a SQLite database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import BaseTestServer, TestClient
from aiohttp.typedefs import StrOrURL
from aiohttp.web import BaseRunner
from yarl import URL

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH
from sync.receiver.auth.readers_token import FILE_NAME
from sync.receiver.config import DATABASE_FILE, ReceiverSettings
from sync.receiver.service import RunningReceiver, running_receiver
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.messages import AT, Members, SimulatedAgent
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse, exchange
from tests.support.sqlite import rows_in


class ReceiverServer(BaseTestServer):
    """A receiver as a server for `aiohttp_client`: `start_server` starts it, `close` stops it."""

    def __init__(self, settings: ReceiverSettings, now: Callable[[], datetime]) -> None:
        super().__init__()
        self.settings = settings
        self._now = now
        self._stack = AsyncExitStack()
        self.address: RunningReceiver
        # As shown at the start to a person at a terminal.
        self.sign_in_links: list[str] = []

    async def start_server(self, loop: object = None, **_: object) -> None:
        """Start the receiver on a free port."""
        running = running_receiver(
            self.settings, now=self._now, show_link=self.sign_in_links.append
        )
        self.address = await self._stack.enter_async_context(running)

    async def close(self) -> None:
        """Stop the receiver. Idempotent."""
        await self._stack.aclose()

    def make_url(self, path: StrOrURL) -> URL:
        """Return the URL of a path, which is already percent-encoded."""
        return URL(f"http://{self.address.host}:{self.address.port}{path}", encoded=True)

    async def _make_runner(self, **_: object) -> BaseRunner:
        raise NotImplementedError("the receiver has its own server")


def client_options() -> dict[str, Any]:
    """Return the options of a client that adds no header and never waits for a connection."""
    return {
        "timeout": aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
        "connector": aiohttp.TCPConnector(limit=0),
        "skip_auto_headers": ["Content-Type", "User-Agent", "Accept-Encoding"],
    }


class Receiver:
    """A running receiver and a client for it."""

    def __init__(self, server: ReceiverServer, client: TestClient[Any, Any]) -> None:
        self.server = server
        self.directory = server.settings.storage.directory
        self.client = client
        self.tokens: dict[tuple[str, str], str] = {}

    @property
    def address(self) -> RunningReceiver:
        """Return the handles of the running receiver."""
        return self.server.address

    @property
    def database(self) -> Path:
        """Return the path of the database file."""
        return self.directory / DATABASE_FILE

    async def enroll(self, sender: SimulatedAgent) -> str:
        """Enroll an agent and return its token; its requests carry it from now on."""
        secret = f"secret-{len(self.tokens)}".encode()
        token = await issue_token(self.address.enrolment, sender.name, secret)
        self.tokens[sender.store_id, sender.till_id] = token
        return token

    async def send(
        self, sender: SimulatedAgent, *events: Members, **members: object
    ) -> HttpResponse:
        """Send a batch as the agent does."""
        return await self.post(BATCHES_PATH, sender.batch(*events, **members), sender)

    async def heartbeat(self, sender: SimulatedAgent, **members: object) -> HttpResponse:
        """Send a heartbeat as the agent does."""
        return await self.post(HEARTBEATS_PATH, sender.heartbeat(**members), sender)

    async def post(
        self, path: str, body: bytes, sender: SimulatedAgent, **headers: str
    ) -> HttpResponse:
        """Send a body with the agent's token and further headers."""
        token = self.tokens[sender.store_id, sender.till_id]
        return await self.request("POST", path, body, Authorization=f"Bearer {token}", **headers)

    @property
    def readers_token(self) -> str:
        """Return the readers' token that the receiver made itself; empty if it made none."""
        access = self.server.settings.access
        if access.admin_token_file or access.open_on_loopback or access.trusted_proxy_header:
            return ""
        return (self.directory / FILE_NAME).read_text().strip()

    async def get(self, path: str, **headers: str) -> HttpResponse:
        """GET a path with the readers' token, if the receiver made one.

        `_` in a header's name stands for `-`; `Authorization` replaces the token.
        """
        token = self.readers_token
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.request("GET", path, **(bearer | headers))

    async def request(
        self, method: str, path: str, body: bytes | None = None, /, **headers: str
    ) -> HttpResponse:
        """Send a request with exactly this path, body and headers; return the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(
            method, path, data=body, headers=named, allow_redirects=False
        ) as response:
            content = await response.read()
            return HttpResponse(response.status, tuple(response.headers.items()), content)

    async def send_raw(self, request: bytes) -> HttpResponse:
        """Send raw bytes on a new connection; return the answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await exchange(self.address.host, self.address.port, request, 1))[0]

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Query the database on a separate connection."""
        return rows_in(self.database, query)


def settings_in(directory: Path, **sections: object) -> ReceiverSettings:
    """Return settings for a storage directory and a free port; `sections` override them."""
    ours: dict[str, object] = {"storage": {"directory": directory}, "server": {"port": 0}}
    return ReceiverSettings.model_validate(ours | sections)


@asynccontextmanager
async def receiver_under_test(
    settings: ReceiverSettings, now: Callable[[], datetime] | None = None
) -> AsyncIterator[Receiver]:
    """Run a receiver; without `now` its clock is fixed at `AT`."""
    server = ReceiverServer(settings, now or (lambda: AT))
    client: TestClient[Any, Any] = TestClient(server, **client_options())
    try:
        await client.start_server()
        yield Receiver(server, client)
    finally:
        # Also if the start fails: the client has a session from the beginning.
        await client.close()
