"""Runs a sandbox: a real agent in a scratch directory, and the proxy on the sandbox's port."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp

from agent.drill.processes import ProgramProcess, free_port, prepare_lone_agent
from agent.drill.scratch_directory import scratch_directory
from agent.sandbox.control import Restart
from agent.sandbox.fault_proxy import AnswerControl, FaultInjector, FaultProxy
from sync.runtime.network.loopback import loopback_sockets

DEFAULT_PORT = 8480
_PORTS = 10
_HOST = "127.0.0.1"
_NAMES = ("SANDBOX", "SANDBOX")
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ResultT = TypeVar("ResultT")
# Makes the control of a sandbox from its restart.
MakeControl = Callable[[Restart], AnswerControl]


class ScratchAgent:
    """An agent without a head office; `restart` kills it as a power cut would."""

    def __init__(self, directory: Path, cors_origins: Sequence[str]) -> None:
        self.port = free_port()
        self._process: ProgramProcess = prepare_lone_agent(
            directory / "agent", self.port, _NAMES, cors_origins
        )

    async def start(self) -> None:
        """Start; return when it takes captures. Raises `ProcessFailedError`."""
        await self._process.start("run", "agent.serving")
        async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as client:
            while not await self._is_ready(client):  # noqa: ASYNC110 - other process
                await asyncio.sleep(_POLL_SECONDS)

    async def restart(self) -> None:
        """Kill the agent and start it again, on the same database."""
        await self._process.crash()
        await self.start()

    async def stop(self) -> None:
        """Stop the agent. Idempotent."""
        await self._process.stop()

    async def _is_ready(self, client: aiohttp.ClientSession) -> bool:
        async with client.get(f"http://{_HOST}:{self.port}/readyz") as answer:
            return answer.ok


@asynccontextmanager
async def running_sandbox(
    directory: Path,
    sockets: Sequence[socket.socket],
    injector: FaultInjector,
    make_control: MakeControl | None = None,
    cors_origins: Sequence[str] = (),
) -> AsyncIterator[FaultProxy]:
    """Run a sandbox in the empty `directory` until the block ends. Raises `ProcessFailedError`."""
    agent = ScratchAgent(directory, cors_origins)
    try:
        await agent.start()
        proxy = FaultProxy(agent.port, injector, agent.restart, cors_origins)
        if make_control is not None:
            proxy.control = make_control(proxy.restart)
        try:
            await proxy.open(sockets)
            yield proxy
        finally:
            await proxy.close()
    finally:
        await agent.stop()


def listen_on(port: int | None, reserved: int | None = None) -> list[socket.socket]:
    """Return sockets on `port` of both loopback addresses; None: the first free one from 8480 on.

    `reserved` is the port of an agent that is installed here: while that is stopped, its tills
    would find the sandbox there, which keeps nothing. Raises `OSError` if the given port is taken.
    """
    if port is not None:
        return loopback_sockets(_HOST, port)
    anywhere = loopback_sockets(_HOST, 0)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS):
        if candidate != reserved and (found := _listen_on_all(candidate, len(anywhere))):
            for one in anywhere:
                one.close()
            return found
    return anywhere


def _listen_on_all(port: int, addresses: int) -> list[socket.socket]:
    """Return sockets on a port of all loopback addresses, none if another program has one."""
    try:
        found = loopback_sockets(_HOST, port)
    except OSError:
        return []
    if len(found) == addresses:
        return found
    for one in found:
        one.close()  # `localhost` could be the other program
    return []


def run_in_scratch(run: Callable[[Path], Coroutine[None, None, ResultT]]) -> ResultT | None:
    """Run in a new scratch directory, which is removed; None if a signal ends it."""

    async def run_until_signal(directory: Path) -> ResultT | None:
        running = asyncio.create_task(run(directory))
        loop = asyncio.get_running_loop()

        def stop() -> None:
            # Once: a second signal would end the wait for the agent, whose directory goes then.
            if not running.cancelling():
                running.cancel()

        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, stop)
        try:
            return await running
        except asyncio.CancelledError:
            return None

    with scratch_directory("loyalty-sandbox-") as scratch:
        return asyncio.run(run_until_signal(scratch))
