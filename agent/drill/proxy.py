"""TCP proxy between agent and receiver that can be cut and restored."""

import asyncio
import contextlib


class CuttableProxy:
    """Forwards connections from a free local port to the receiver's port."""

    def __init__(self, receiver_port: int) -> None:
        self._receiver_port = receiver_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._is_up = True

    async def open(self) -> int:
        """Start listening; return the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Abort all connections and drop new ones."""
        self._is_up = False
        for writer in list(self._writers):
            writer.transport.abort()

    def restore(self) -> None:
        """Forward new connections again."""
        self._is_up = True

    async def close(self) -> None:
        """Stop listening; no connection is left on return."""
        self.cut()
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._forward(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._is_up:
                await self._connect(reader, writer)
        except OSError:
            pass  # one side disconnected; close the other
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(
            "127.0.0.1", self._receiver_port
        )
        self._writers.add(server_writer)
        pumps = [
            asyncio.ensure_future(self._pump(reader, server_writer)),
            asyncio.ensure_future(self._pump(server_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(server_writer)
            server_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
