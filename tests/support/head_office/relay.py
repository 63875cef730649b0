"""A TCP relay before PostgreSQL servers: a balancer, or a line that breaks inside of a COMMIT."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.head_office.postgresql import PostgresqlServer

_SOCKET = ".s.PGSQL.5432"
_COMMIT = b"COMMIT;\0"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a connection is cut: after this many bytes of a COMMIT, or of its answer."""

    of_commit: int | None = None
    of_answer: int = 0

    def is_at(self, requests: bytes) -> bool:
        """Return whether these end with the COMMIT that is cut."""
        return requests.endswith(_COMMIT)


@dataclass(slots=True)
class Relay:
    """Passes each connection on to the next of the servers; cuts the next COMMIT if `cut` is set.

    `cuts`: how many were cut.
    """

    servers: Iterator[Path]
    port: int = 0
    cut: Cut | None = None
    cuts: int = 0

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection on, until one end closes it or it is cut."""
        answers, requests = await asyncio.open_unix_connection(next(self.servers))
        cut: asyncio.Future[Cut] = asyncio.get_running_loop().create_future()
        ways = [
            asyncio.ensure_future(self._pass_requests(reader, requests, cut)),
            asyncio.ensure_future(self._pass_answers(answers, writer, cut)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (requests, writer):
            end.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_requests(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, cut: asyncio.Future[Cut]
    ) -> None:
        while data := await source.read(65_536):
            if self.cut is not None and self.cut.is_at(data):
                cut.set_result(self.cut)
                self.cut, self.cuts = None, self.cuts + 1
                if (passed := cut.result().of_commit) is not None:
                    target.write(data[: len(data) - len(_COMMIT) + passed])
                    return
            target.write(data)

    async def _pass_answers(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, cut: asyncio.Future[Cut]
    ) -> None:
        while data := await source.read(65_536):
            if cut.done():
                target.write(data[: cut.result().of_answer])
                return
            target.write(data)


@asynccontextmanager
async def relay_before(*servers: PostgresqlServer) -> AsyncIterator[Relay]:
    """Run a relay before the servers; yield it."""
    relay = Relay(itertools.cycle(server.socket / _SOCKET for server in servers))
    async with await asyncio.start_server(relay.pass_on, "127.0.0.1", 0) as listener:
        relay.port = listener.sockets[0].getsockname()[1]
        yield relay
