"""HTTP client: sends one request, returns its response or a classified failure."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import aiohttp
from aiohappyeyeballs import AddrInfoType
from yarl import URL

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.network_errors import ResponseLost, failure_from

MAX_ANSWER_BYTES = 1_048_576
_CONNECT_SECONDS = 10.0
# Share of the total timeout for connecting, slow name resolution included. Must be below 1: if
# the total timeout expired first, it would be unknown whether the request was sent.
_CONNECT_SHARE = 0.9
# TCP keepalive: an idle dead connection is detected after a minute.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_Seen: TypeAlias = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Settings of the HTTP client. `connections`: concurrent ones; `proxy`: empty for none.

    If `ca_file` is given, only it is trusted, and the system's CAs as well if `trusts_system`.
    The files are reread when they change.
    """

    timeout_seconds: float
    connections: int = 8
    ca_file: Path | None = None
    trusts_system: bool = False
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP response. Header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        """Whether the Content-Type is JSON (RFC 8259) or a `+json` type."""
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return media_type == "application/json" or media_type.endswith("+json")


class HttpClient:
    """Sends each request at most once. Not thread-safe; event loop only.

    No redirects, no cookies, no hidden retries: aiohttp would resend a PUT on a dead connection,
    and a first one that took effect would go unnoticed.
    """

    def __init__(self, rules: HttpOptions) -> None:
        self._rules = rules
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._read_files: _Seen = ()

    async def request(
        self, method: str, url: URL, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpResponse | Blocked | RetryLater:
        """Send one request and read the response; failures are returned, not raised."""
        tls = await self._trusted() if url.scheme == "https" else True
        if isinstance(tls, Blocked):
            return tls
        try:
            async with self._opened().request(
                method, url, headers=headers, data=body, ssl=tls, allow_redirects=False
            ) as response:
                return await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = failure_from(error)
            if cause.cause is FailureCause.UNTRUSTED_CERTIFICATE:
                self._tls = None  # the system's CAs may have changed: load them again next time
            return cause

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _trusted(self) -> ssl.SSLContext | Blocked:
        """Return the TLS context, rebuilt if the certificate files have changed.

        A new context also drops connections and TLS sessions of the old certificate. Waiting for
        an error instead would fail: in TLS 1.3 a refused certificate looks like a lost response.
        """
        seen = _seen(self._rules)
        if self._tls is None or seen != self._read_files:
            self._tls = None
            try:
                self._tls = await asyncio.to_thread(tls_context, self._rules)
            except (OSError, ValueError) as error:
                return Blocked(BlockedReason.CREDENTIALS, _unusable(self._rules, error))
            self._read_files = seen
        return self._tls

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            seconds = self._rules.timeout_seconds
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._rules.connections, socket_factory=_kept_alive
                ),
                timeout=aiohttp.ClientTimeout(
                    total=seconds,
                    connect=seconds * _CONNECT_SHARE,
                    sock_connect=min(seconds * _CONNECT_SHARE, _CONNECT_SECONDS),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "gzip, deflate"},
                middlewares=(_never_twice,),
                proxy=self._rules.proxy or None,
            )
        return self._session


async def _never_twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Disable aiohttp's own retry: replace the errors that trigger it by `ResponseLost`."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ResponseLost from error


async def _read(response: aiohttp.ClientResponse) -> HttpResponse | RetryLater:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            response.close()
            return RetryLater(
                FailureCause.UNEXPECTED_RESPONSE, f"the answer has over {MAX_ANSWER_BYTES} bytes"
            )
    return HttpResponse(response.status, response.headers, b"".join(chunks))


def _kept_alive(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def tls_context(rules: HttpOptions) -> ssl.SSLContext:
    """Return the TLS context for `rules`. Raises `OSError` or `ValueError`."""
    context = ssl.create_default_context(cafile=rules.ca_file)
    if rules.ca_file is not None and rules.trusts_system:
        context.load_default_certs()
    if rules.client_cert_file is not None:
        # An empty password: an encrypted key must fail here instead of prompting on the terminal.
        context.load_cert_chain(rules.client_cert_file, rules.client_key_file, password="")
    return context


def _seen(rules: HttpOptions) -> _Seen:
    """Return a fingerprint of the certificate files that changes whenever they are replaced."""
    return tuple(_identity(file) for file in _files(rules))


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _files(rules: HttpOptions) -> list[Path]:
    files = (rules.ca_file, rules.client_cert_file, rules.client_key_file)
    return [file for file in files if file is not None]


def _unusable(rules: HttpOptions, error: Exception) -> str:
    named = ", ".join(map(str, _files(rules)))
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"certificate files cannot be used ({reason}): {named or 'the system has none'}"
