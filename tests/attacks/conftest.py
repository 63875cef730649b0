"""Both programs as targets: address to attack, data that an attack must not change or read."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

from agent.service import running_agent
from agent.store.db.connect import DATABASE_FILE
from sync.receiver.config import DATABASE_FILE as LEDGER_FILE
from sync.receiver.config import ReceiverSettings
from sync.receiver.service import RunningReceiver, running_receiver
from tests.support.agent.in_process import settings_in as agent_settings
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import settings_in as receiver_settings
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse, exchange
from tests.support.sqlite import rows_in
from tests.support.threads import running_in_a_thread

READERS_TOKEN = "of-readers-of-the-attacked-head-office-0123456789"  # noqa: S105 - of the test
CAPTURE = "POST", "/client/users/anonymous/sessions"
BATCH = "POST", "/sync/v1/batches"


@dataclass(frozen=True, slots=True)
class Target:
    """A running program, and a client that may do all that its users may."""

    host: str
    port: int
    database: Path
    table: str
    write: tuple[str, str]
    till: SimulatedAgent
    tokens: Mapping[str, str] = field(default_factory=dict)

    async def send(self, request: bytes, source: str | None = None) -> HttpResponse:
        """Send raw bytes on a new connection, from an address if given; return the answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await exchange(self.host, self.port, request, 1, source))[0]

    async def get(self, path: str) -> HttpResponse:
        """GET a path as a client that may read."""
        return await self.send(self.request("GET", path))

    async def everything(self, request: bytes) -> bytes:
        """Send raw bytes on a new connection; return all bytes until the server closes it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(request)
            try:
                return await reader.read()
            finally:
                writer.close()

    def request(self, method: str, path: str, body: bytes = b"", *extra: str) -> bytes:
        """Return the bytes of a request as the client sends it."""
        length = (f"Content-Length: {len(body)}",) if body else ()
        token = self.tokens.get(method)
        bearer = (f"Authorization: Bearer {token}",) if token else ()
        lines = (f"{method} {path} HTTP/1.1", "Host: localhost", *bearer, *length, *extra)
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body

    def capture(self, name: str, *extra: str) -> bytes:
        """Return the write of one session with this id; at head office in an epoch of its own."""
        body = json.dumps({"correlationId": name}).encode()
        if self.write == BATCH:
            till = replace(self.till, epoch=str(uuid.uuid4()))
            body = till.batch(session(1, name, body={"correlationId": name}))
        return self.request(*self.write, body, *extra)

    def sessions(self) -> list[str]:
        """Return the ids of all recorded sessions."""
        rows = rows_in(self.database, f"SELECT correlation_id FROM {self.table}")  # noqa: S608 - a name
        return sorted(str(name) for (name,) in rows)


@contextmanager
def attacked_agent(directory: Path, till: SimulatedAgent) -> Iterator[Target]:
    """Run an agent without settings."""
    database = directory / DATABASE_FILE
    with running_in_a_thread(running_agent(agent_settings(directory))) as agent:
        # The answer waits until the store is open.
        with closing(HTTPConnection(agent.host, agent.port)) as connection:
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == HTTPStatus.OK
        yield Target(agent.host, agent.port, database, "session", CAPTURE, till)


@contextmanager
def attacked_head_office(directory: Path, till: SimulatedAgent) -> Iterator[Target]:
    """Run head office with one till and a token for readers."""
    token_file = directory.with_suffix(".token")
    token_file.write_text(READERS_TOKEN)
    token_file.chmod(0o600)
    settings = receiver_settings(directory, access={"admin_token_file": token_file})
    with running_in_a_thread(_enrolled(settings, till)) as (office, token):
        tokens = {"GET": READERS_TOKEN, "POST": token}
        database = directory / LEDGER_FILE
        yield Target(office.host, office.port, database, "sessions", BATCH, till, tokens)


@asynccontextmanager
async def _enrolled(
    settings: ReceiverSettings, till: SimulatedAgent
) -> AsyncIterator[tuple[RunningReceiver, str]]:
    async with running_receiver(settings) as office:
        yield office, await issue_token(office.enrolment, till.name, b"a secret of a till")


TARGETS = {"agent": attacked_agent, "head office": attacked_head_office}


@pytest.fixture(scope="module", params=TARGETS)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """Run one program for all attacks of a module."""
    directory = tmp_path_factory.mktemp("attacked") / "state"
    with TARGETS[request.param](directory, SimulatedAgent()) as target:
        yield target
