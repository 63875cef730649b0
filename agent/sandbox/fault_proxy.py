"""Fault-injecting proxy in front of a real agent. The agent has no hook for it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Protocol, TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from agent.api.access import Access
from agent.api.request_body import MAX_BODY_BYTES
from agent.sandbox.answers import ERRORS, end_to_end, error_answer, passed_on
from agent.sandbox.exchange import Ending, Exchange
from agent.sandbox.faults import Fault, FaultKind
from sync.runtime.network.request_head import MAX_FIELD_BYTES

# Bodies far above the agent's limit are rejected here: a certification keeps the bodies.
_MOST_BYTES = 2 * MAX_BODY_BYTES
_STOP_SECONDS = 0.5
# SO_LINGER of zero seconds: closing sends a reset.
_RESET = struct.pack("ii", 1, 0)
# The client adds no header of its own.
_OWN_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
ResultT = TypeVar("ResultT")
AnswerControl = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FaultInjector(Protocol):
    """Decides on faults, and is notified of every exchange."""

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """Return the fault of a request that has just arrived."""

    def on_end(self, exchange: Exchange) -> None:
        """Handle an exchange that has ended."""


async def _no_control(_request: web.Request) -> None:
    return None


class FaultProxy:
    """Serves the tills from `open` to `close`.

    `restart` kills the agent and starts it again; requests wait meanwhile, as they do in the
    socket that systemd holds for an agent.
    """

    def __init__(
        self,
        agent_port: int,
        injector: FaultInjector,
        restart: Callable[[], Awaitable[None]],
        cors_origins: Sequence[str] = (),
    ) -> None:
        self._agent = f"http://127.0.0.1:{agent_port}"
        self._injector = injector
        self._restart_agent = restart
        self.control: AnswerControl = _no_control
        self._access = Access(frozenset(), frozenset(cors_origins))
        self._connections: dict[asyncio.Transport, int] = {}
        self._numbers = count(1)
        self._open: set[Exchange] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._serving = asyncio.Event()
        self._serving.set()
        self._ended = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Serve on listening sockets."""
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=60)
        self._client = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            skip_auto_headers=_OWN_HEADERS,
        )
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_field_size=MAX_FIELD_BYTES,
            shutdown_timeout=_STOP_SECONDS,
        )
        await self._runner.setup()
        for one in sockets:
            await web.SockSite(self._runner, one).start()

    async def close(self) -> None:
        """Cut all connections and stop. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self.cut()
            await runner.cleanup()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._client.close()

    async def restart(self, keep: asyncio.Transport | None = None) -> None:
        """Kill the agent, cut all connections but `keep`, start it again."""
        self._serving.clear()
        try:
            self.cut(keep)
            await self._restart_agent()
        finally:
            self._serving.set()

    def cut(self, keep: asyncio.Transport | None = None) -> None:
        """Close all connections but `keep`, without an answer."""
        for exchange in list(self._open):
            self._end(exchange, Ending.CUT)
        for transport in self._connections.keys() - {keep}:
            transport.abort()

    async def quiet(self, seconds: float) -> None:
        """Wait until no request is in progress, `seconds` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._open:
                    self._ended.clear()
                    await self._ended.wait()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if (answer := await self.control(request)) is not None:
            return answer
        exchange = self._begin(request)
        try:
            exchange.body = await request.read()
            exchange.fault = self._injector.fault_for(exchange)
            answer = await self._answer(request, exchange)
        except asyncio.CancelledError:
            self._end(exchange, Ending.LEFT)
            raise
        except web.HTTPException as error:
            answer = error_answer(error)
            answer.headers.update(self._access.headers_for(request))
        self._end(exchange, Ending.ANSWERED, answer.status)
        return answer

    def _begin(self, request: web.Request) -> Exchange:
        transport = request.transport
        number = self._number_of(transport) if transport is not None else 0
        path = request.rel_url.raw_path_qs
        exchange = Exchange(number, request.method, path, b"", asyncio.get_running_loop().time())
        self._open.add(exchange)
        return exchange

    def _number_of(self, transport: asyncio.Transport) -> int:
        self._connections = {t: n for t, n in self._connections.items() if not t.is_closing()}
        if transport not in self._connections:
            self._connections[transport] = next(self._numbers)
        return self._connections[transport]

    def _end(self, exchange: Exchange, ending: Ending, status: int | None = None) -> None:
        if exchange in self._open:
            self._open.remove(exchange)
            exchange.end(ending, asyncio.get_running_loop().time(), status)
            self._injector.on_end(exchange)
            self._ended.set()

    async def _answer(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        fault = exchange.fault
        if fault is None:
            return await self._pass_on(request, exchange)
        if (error := ERRORS.get(fault.kind)) is not None:
            answer = error_answer(error)
            answer.headers.update(self._access.headers_for(request))
            return answer
        match fault.kind:
            case FaultKind.SLOW:
                answer = await self._pass_on(request, exchange)
                await asyncio.sleep(fault.seconds)
                return answer
            case FaultKind.SILENT:
                await _hold(fault.held_seconds)
                return self._cut(request, exchange)
            case FaultKind.RESET:
                return self._cut(request, exchange, is_reset=True)
        answer = await self._pass_on(request, exchange)
        if fault.kind is FaultKind.HALF:
            await _send_half(request, answer)
        if fault.kind is FaultKind.RESTART:
            self._keep(asyncio.create_task(self.restart()))
        return self._cut(request, exchange)

    async def _pass_on(self, request: web.Request, exchange: Exchange) -> web.Response:
        """Return the agent's answer. The request is finished even if the till leaves."""
        await self._serving.wait()
        asking = self._keep(asyncio.create_task(self._ask(request, exchange)))
        try:
            return await asyncio.shield(asking)
        except aiohttp.ClientError:
            return self._cut(request, exchange)  # the agent was killed meanwhile

    async def _ask(self, request: web.Request, exchange: Exchange) -> web.Response:
        headers = end_to_end(request.headers)
        headers.popall("Expect", None)
        async with self._client.request(
            exchange.method,
            URL(self._agent + exchange.path, encoded=True),
            headers=headers,
            data=exchange.body or None,
            allow_redirects=False,
        ) as answer:
            fault = str(exchange.fault.kind) if exchange.fault else "none"
            return passed_on(answer.status, answer.headers, await answer.read(), fault)

    def _cut(
        self, request: web.Request, exchange: Exchange, *, is_reset: bool = False
    ) -> web.Response:
        """Close the connection; return an answer for aiohttp, which cannot be sent."""
        self._end(exchange, Ending.CUT)
        if (transport := request.transport) is not None:
            if is_reset and (inner := transport.get_extra_info("socket")) is not None:
                inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        return web.Response()

    def _keep(self, task: "asyncio.Task[ResultT]") -> "asyncio.Task[ResultT]":
        """Keep a reference to a task until it is done (asyncio keeps none)."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _hold(seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


async def _send_half(request: web.Request, answer: web.Response) -> None:
    body = answer.body if isinstance(answer.body, bytes) else b""
    half = web.StreamResponse(status=answer.status, headers=answer.headers)
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
