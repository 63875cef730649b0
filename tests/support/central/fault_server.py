"""HTTP server with injectable faults between the socket and the request handler."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from tests.support.central.faults import Answer, Fault, Lost, end


@dataclass(frozen=True, slots=True)
class Request:
    """A received request; `path` is percent-encoded, `connection` is the client's port."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0

    @property
    def encoding(self) -> str:
        """Return the Content-Encoding; empty for none."""
        return self.headers.get("Content-Encoding", "")


class FaultServer:
    """Passes each request to its fault or to `serve`, and answers.

    `default_fault` returns the fault of a request that has no scripted one; it may be set at any
    time. `requests` lists every received request, faulty or not.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.default_fault: Callable[[Request], Fault | None] = lambda _: None
        self.requests: list[Request] = []
        self._script: deque[tuple[str, Fault]] = deque()
        self._came = asyncio.Condition()
        self._tls = tls
        self._port = 0
        self._runner: web.ServerRunner | None = None

    async def serve(self, request: Request) -> Answer:
        """Handle the request correctly."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Return the base URL, also while stopped."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; after a stop, on the same port as before."""
        # Decompress here instead of in aiohttp, whose zstd support depends on the Python version.
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True
        )
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Cut all connections, including requests in progress. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None or runner.server is None:
            return
        for connection in list(runner.server.connections):
            connection.force_close()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def script(self, *faults: Fault, on: str = "") -> None:
        """Apply these faults in turn to the next requests whose path begins with `on`."""
        self._script.extend((on, fault) for fault in faults)

    def clear_script(self) -> None:
        """Drop scripted faults that have not been used yet."""
        self._script.clear()

    async def wait_for_requests(self, count: int) -> None:
        """Wait until `count` requests have been received since creation."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await raw.content.read()
        except ConnectionResetError:  # # the client disconnected while sending
            return web.Response()
        path, query = raw.rel_url.raw_path, dict(raw.query)
        request = Request(raw.method, path, query, raw.headers, body, _client_port(raw))
        answer = await self.answer(request)
        if raw.transport is None:  # # the client disconnected before the answer
            return web.Response()
        if isinstance(answer, Lost):
            end(raw.transport, reset=answer.reset)
            return web.Response()
        if answer.cut_after is not None:
            return await _cut(raw, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def answer(self, request: Request) -> Answer | Lost:
        """Answer a request, or lose it, for any kind of transport."""
        self.requests.append(request)
        async with self._came:
            self._came.notify_all()

        async def serve() -> Answer:
            return await self.serve(request)

        fault = self._scripted(request) or self.default_fault(request)
        return await (fault(serve) if fault else serve())

    def _scripted(self, request: Request) -> Fault | None:
        for index, (prefix, fault) in enumerate(self._script):
            if request.path.startswith(prefix):
                del self._script[index]
                return fault
        return None


def _client_port(raw: web.BaseRequest) -> int:
    name = raw.transport.get_extra_info("peername") if raw.transport else None
    return int(name[1]) if name else 0


async def _cut(raw: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(raw)
    await response.write(answer.body[: answer.cut_after])
    assert raw.transport is not None
    raw.transport.close()
    return response
