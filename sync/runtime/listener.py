"""Where callers come in: an address of our own or an inherited socket, and left politely."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

# Callers that connect at one time, or during a restart, and are let in one after the other.
BACKLOG = 1024
# While a service leaves, callers with a connection are still answered for at most so long.
LAME_DUCK_SECONDS = 0.5
_LOOKS = 50


class Door:
    """Lets callers in to a runner that is set up, from `open` to `close`.

    A server that closes its connections all at once cuts off whoever is just asking. So the
    door is left in two steps: first nobody new is let in (where systemd holds the socket,
    they wait in front of it for the next process), and every answer says that it is the last
    on its connection; then, once all have gone or `LAME_DUCK_SECONDS` are over, the runner
    ends what is left.
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
        """Listen on what was inherited, else on host and port; return the address in use."""
        for site in self._sites(host, port, inherited):
            await site.start()
        in_use: tuple[str, int] = self._runner.addresses[0][:2]
        return in_use

    async def close(self) -> None:
        """Leave as said above; twice is harmless."""
        for site in list(self._runner.sites):
            await site.stop()
        self._leaving = True
        # The library tells nobody when a connection has gone, so it is looked at.
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
        """Make a request; while leaving, as if its caller had asked for the connection's end."""
        if self._leaving:
            message = message._replace(should_close=True)
        return self._make_request(message, body, connection, writer, task)
