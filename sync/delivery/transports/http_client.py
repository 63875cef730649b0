"""HTTP client: sends one request, returns its response or a classified failure."""

import asyncio
import codecs
import logging
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp
from aiohappyeyeballs import AddrInfoType
from yarl import URL

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports import proxy
from sync.delivery.transports.network_errors import ResponseLost, failure_from
from sync.delivery.transports.response_head import BoundedConnector
from sync.runtime.files.regular_file import require_regular
from sync.runtime.logging import log_event
from sync.runtime.network.trust import trusting

_log = logging.getLogger(__name__)
MAX_RESPONSE_BYTES = 1_048_576
_CONNECT_SECONDS = 10.0
# Share of the total timeout for connecting, slow name resolution included. Below 1: the retry
# policy then learns that no connection was made, and not only that there was no response.
_CONNECT_SHARE = 0.9
# One TLS context serves for the proxy and for the server in its tunnel.
_UNVERIFIED_PROXY = (
    "the proxy's certificate cannot be checked yet, so its password is not sent: put the"
    " authorities of head office and of the proxy into central.ca_file"
)
# TCP keepalive: an idle dead connection is detected after a minute.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Settings of the HTTP client. `connections`: concurrent ones; `proxy`: empty for none.

    `keep_alive_seconds`: for an idle connection, less than the server keeps it.
    If `ca_file` is given, only it is trusted. The files are reread when they change.
    `verifies_server`: check its certificate. Without that send no secret.
    """

    timeout_seconds: float
    connections: int = 8
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: str = ""
    proxy_user: str = ""
    proxy_password_file: Path | None = None
    verifies_server: bool = True
    keep_alive_seconds: float = 15.0


@dataclass(slots=True)
class _Attempt:
    """One request. It cannot have been sent before it `has_connection`."""

    has_connection: bool = False


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

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._tls_fingerprint: list[tuple[int, int, int] | None] = []

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        server: str = "head office",
    ) -> HttpResponse | Blocked | RetryLater:
        """Send one request and read the response; failures are returned, not raised.

        They name the `server`.
        """
        tls = await self._tls_context() if url.scheme == "https" else True
        if isinstance(tls, Blocked):
            return tls
        options, attempt = self._options, _Attempt()
        if options.proxy_user and not options.verifies_server and self._has_encrypted_proxy():
            return Blocked(BlockedReason.PROXY, _UNVERIFIED_PROXY)
        for_proxy = proxy.proxy_headers(options.proxy_user, options.proxy_password_file)
        if isinstance(for_proxy, Blocked):
            return for_proxy
        # In a tunnel the request is for head office only; without TLS the proxy reads it.
        to_tunnel, in_request = (for_proxy, {}) if url.scheme == "https" else ({}, for_proxy)
        try:
            async with self._opened_session().request(
                method,
                url,
                headers={**headers, **in_request},
                data=body,
                ssl=tls,
                allow_redirects=False,
                proxy_headers=to_tunnel or None,
                trace_request_ctx=attempt,
            ) as response:
                if response.status == proxy.WANTS_PASSWORD:
                    return self._refused_by_proxy(response.headers, response.status)
                return await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._failure(error, attempt, server)

    def _refused_by_proxy(self, headers: Mapping[str, str] | None, status: int) -> Blocked:
        options = self._options
        return proxy.refusal(
            headers,
            status,
            proxy=options.proxy,
            user=options.proxy_user,
            password_file=options.proxy_password_file,
        )

    def _failure(self, error: Exception, attempt: _Attempt, server: str) -> Blocked | RetryLater:
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in proxy.REFUSES_TUNNEL:
            return self._refused_by_proxy(error.headers, error.status)
        # The total timeout can fire together with that for connecting: aiohttp rounds both up
        # to a second, and a loaded machine handles both late.
        if isinstance(error, TimeoutError) and not attempt.has_connection:
            error = aiohttp.ConnectionTimeoutError()
        if isinstance(error, aiohttp.ConnectionTimeoutError) and self._options.proxy:
            server = f"{server} through the proxy"
        if isinstance(error, aiohttp.ClientConnectorError) and self._is_of_proxy(error):
            server = "the proxy"
        failure = failure_from(error, server)
        if failure.cause is FailureCause.UNTRUSTED_CERTIFICATE:
            self._tls = None  # the system's CAs may have changed: load them again next time
        if failure.may_have_arrived and not attempt.has_connection:
            # Only a proxy was asked, for a tunnel.
            detail = f"no connection through the proxy: {failure.detail}"
            return replace(failure, cause=FailureCause.NO_CONNECTION, detail=detail)
        return failure

    def _has_encrypted_proxy(self) -> bool:
        return URL(self._options.proxy).scheme == "https"

    def _is_of_proxy(self, error: aiohttp.ClientConnectorError) -> bool:
        """Return whether the connection to an encrypted proxy failed, not that in its tunnel."""
        way = URL(self._options.proxy)
        return way.scheme == "https" and (error.host, error.port) == (way.raw_host, way.port)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _tls_context(self) -> ssl.SSLContext | Blocked:
        """Return the TLS context, rebuilt if the certificate files have changed and can be used.

        A new context also drops connections and TLS sessions of the old certificate. Waiting for
        an error instead would fail: in TLS 1.3 a refused certificate looks like a lost response.
        """
        files = _certificate_files(self._options)
        fingerprint = [_identity(file) for file in files]
        if self._tls is None or fingerprint != self._tls_fingerprint:
            try:
                self._tls = await asyncio.to_thread(tls_context, self._options)
            except (OSError, ValueError) as error:
                names = ", ".join(map(str, files)) or "the system has none"
                reason = getattr(error, "strerror", None) or type(error).__name__
                detail = f"certificate files cannot be used ({reason}): {names}"
                if self._tls is None:
                    return Blocked(BlockedReason.CREDENTIALS, detail)
                reason = f"{detail}: those before stay in use"
                log_event(_log, logging.ERROR, "files.rejected", reason=reason)
            self._tls_fingerprint = fingerprint
        return self._tls

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            seconds = self._options.timeout_seconds
            self._session = aiohttp.ClientSession(
                connector=BoundedConnector(
                    limit=self._options.connections,
                    keepalive_timeout=self._options.keep_alive_seconds,
                    socket_factory=_socket_with_keepalive,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=seconds,
                    connect=seconds * _CONNECT_SHARE,
                    sock_connect=min(seconds * _CONNECT_SHARE, _CONNECT_SECONDS),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "gzip, deflate"},
                middlewares=(_no_hidden_retry,),
                trace_configs=[_connection_trace()],
                proxy=self._options.proxy or None,
            )
        return self._session


def _connection_trace() -> aiohttp.TraceConfig:
    """Return a trace that notes, before anything is sent, that an `_Attempt` has a connection."""

    async def note(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.has_connection = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    trace.on_connection_reuseconn.append(note)
    return trace


async def _no_hidden_retry(
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
        if size > MAX_RESPONSE_BYTES:
            response.close()
            detail = f"the response exceeds {MAX_RESPONSE_BYTES} bytes"
            return RetryLater(FailureCause.UNEXPECTED_RESPONSE, detail)
    # A byte order mark is no part of JSON (RFC 8259, 8.1), but some gateways add one.
    body = b"".join(chunks).removeprefix(codecs.BOM_UTF8)
    return HttpResponse(response.status, response.headers, body)


def _socket_with_keepalive(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def tls_context(options: HttpOptions) -> ssl.SSLContext:
    """Return the TLS context for `options`. Raises `OSError` or `ValueError`."""
    require_regular(*_certificate_files(options))
    context = trusting(options.ca_file)
    if not options.verifies_server:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if options.client_cert_file is not None:
        # An empty password: an encrypted key must fail here instead of prompting on the terminal.
        context.load_cert_chain(options.client_cert_file, options.client_key_file, password="")
    return context


def _certificate_files(options: HttpOptions) -> list[Path]:
    files = (options.ca_file, options.client_cert_file, options.client_key_file)
    return [file for file in files if file is not None]


def _identity(file: Path) -> tuple[int, int, int] | None:
    """Return a value that changes whenever the file is replaced."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
