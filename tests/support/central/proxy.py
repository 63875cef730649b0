"""An HTTP proxy on a real socket that wants a password: tunnels, and requests without TLS."""

import asyncio
import base64
import contextlib
import ssl
from typing import Self

from yarl import URL

_BASIC = b'Basic realm="store"'


class PasswordProxy:
    """Passes on what comes with the password; all else gets a 407 with `challenge`.

    `accepted`: user and password. It may be set at any time, and closes no open tunnel. With `tls`
    it is an encrypted proxy.
    """

    def __init__(
        self,
        accepted: str | None = None,
        challenge: bytes = _BASIC,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.accepted = accepted
        self.challenge = challenge
        self._tls = tls
        self.established = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self.heads: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the URL to configure."""
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        self.heads.append(head)
        if not self._is_accepted(head):
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: %b\r\n"
                b"Content-Length: 5\r\nConnection: close\r\n\r\nnever" % self.challenge
            )
            writer.close()
            return
        method, target, rest = head.split(b" ", 2)
        there, to_there = await asyncio.open_connection(*_address(method, target))
        if method == b"CONNECT":
            writer.write(self.established)
        else:
            to_there.write(b" ".join([method, URL(target.decode()).raw_path.encode(), rest]))
        for one in (_relay(reader, to_there), _relay(there, writer)):
            self._relays.add(asyncio.ensure_future(one))

    def _is_accepted(self, head: bytes) -> bool:
        if self.accepted is None:
            return True
        basic = base64.b64encode(self.accepted.encode())
        return b"\r\nProxy-Authorization: Basic %b\r\n" % basic in head


def _address(method: bytes, target: bytes) -> tuple[str, int]:
    if method == b"CONNECT":
        host, _, port = target.decode().rpartition(":")
        return host, int(port)
    url = URL(target.decode())
    return url.host or "", url.port or 80


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError), contextlib.closing(writer):
        while content := await reader.read(65_536):
            writer.write(content)
            await writer.drain()
