"""Graceful shutdown: no new connections, one last response each, then close."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from sync.runtime.listener import Door
from tests.support.raw_http import Answer, ask

PATIENCE_SECONDS = 10.0
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Served:
    """A running server; its handler sets `asked` and waits for `held`."""

    door: Door
    port: int
    asked: asyncio.Event
    held: asyncio.Event


@asynccontextmanager
async def served(*sockets: socket.socket) -> AsyncIterator[Served]:
    asked, held = asyncio.Event(), asyncio.Event()
    held.set()

    async def answer(_: web.BaseRequest) -> web.Response:
        asked.set()
        await held.wait()
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=PATIENCE_SECONDS)
    await runner.setup()
    door = Door(runner, None)
    _, port = await door.open("127.0.0.1", 0, sockets)
    try:
        yield Served(door, port, asked, held)
    finally:
        await runner.cleanup()


async def get(port: int) -> Answer:
    async with asyncio.timeout(PATIENCE_SECONDS):
        (answer,) = await ask("127.0.0.1", port, GET, 1)
    return answer


async def test_connection_is_kept_alive_before_shutdown() -> None:
    async with served() as server:
        assert (await get(server.port)).header("Connection") is None


async def test_response_during_shutdown_closes_its_connection() -> None:
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        await reader.readuntil(b"here")
        closing = asyncio.create_task(server.door.close())
        await asyncio.sleep(0)
        writer.write(GET)
        last = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        assert b"\r\nConnection: close\r\n" in last
        assert last.endswith(b"here")
        writer.close()
        await closing


async def test_slow_request_is_still_answered_during_shutdown() -> None:
    async with served() as server:
        server.held.clear()
        asking = asyncio.create_task(get(server.port))
        await server.asked.wait()
        closing = asyncio.create_task(server.door.close())
        await asyncio.sleep(0)
        server.held.set()
        assert (await asking).status == 200
        await closing


async def test_closed_listener_refuses_new_connections() -> None:
    async with served() as server:
        await server.door.close()
        with pytest.raises(ConnectionRefusedError):
            await get(server.port)


async def test_connection_to_an_inherited_socket_waits_for_the_next_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as systemds:
        systemds.setblocking(False)
        async with served(systemds.dup()) as first:
            await first.door.close()
            waiting = asyncio.create_task(get(first.port))
            await asyncio.sleep(0)
        assert not waiting.done()
        async with served(systemds.dup()):
            assert (await waiting).status == 200


async def test_close_is_idempotent() -> None:
    async with served() as server:
        await server.door.close()
        await server.door.close()
