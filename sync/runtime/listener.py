"""Binds or inherits listening sockets; shuts down gracefully."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

# Listen backlog: connections that arrive in one burst, or during a restart, wait here.
BACKLOG = 1024
# How long open connections are still served during shutdown.
LAME_DUCK_SECONDS = 0.5
_LOOKS = 50


class Door:
    """Listens for a runner that is set up, from `open` to `close`.

    Closing all connections at once would cut off requests in flight. So `close` has two steps.
    First stop listening (where systemd holds the socket, new connections wait in its backlog
    for the next process) and answer every request with `Connection: close`. Then wait until
    all connections are closed or `LAME_DUCK_SECONDS` have passed; the runner's cleanup closes
    the rest.
    """

    def __init__(self, runner: web.AppRunner, tls: ssl.SSLContext | None) -> None:
        assert runner.server is not None, "the runner is set up first"  # noqa: S101 - for the types
        self._runner = runner
        self._server = runner.server
        self._tls = tls
        self._leaving = False
        self._make_request = self._server.request_factory
        self._server.request_factory = self._request

    async def open(
        self, host: str, port: int, inherited: Sequence[socket.socket] = ()
    ) -> tuple[str, int]:
        """Listen on the inherited sockets, else on host and port; return the bound address."""
        for site in self._sites(host, port, inherited):
            await site.start()
        in_use: tuple[str, int] = self._runner.addresses[0][:2]
        return in_use

    async def close(self) -> None:
        """Shut down gracefully (see the class). Idempotent."""
        for site in list(self._runner.sites):
            await site.stop()
        self._leaving = True
        # aiohttp has no event for a closed connection, so poll.
        for _ in range(_LOOKS):
            if not self._server.connections:
                break
            await asyncio.sleep(LAME_DUCK_SECONDS / _LOOKS)

    def _sites(
        self, host: str, port: int, inherited: Sequence[socket.socket]
    ) -> list[web.BaseSite]:
        if not inherited:
            own = web.TCPSite(self._runner, host, port, ssl_context=self._tls, backlog=BACKLOG)
            return [own]
        return [
            web.SockSite(self._runner, given, ssl_context=self._tls, backlog=BACKLOG)
            for given in inherited
        ]

    def _request(
        self,
        message: RawRequestMessage,
        body: StreamReader,
        connection: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        """Make a request; while closing, as if the client had sent `Connection: close`."""
        if self._leaving:
            message = message._replace(should_close=True)
        return self._make_request(message, body, connection, writer, task)
