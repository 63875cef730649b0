"""TCP proxy between agent and receiver that can be cut and restored."""

import asyncio
import contextlib


class Line:
    """Forwards connections from a free local port to the receiver's port."""

    def __init__(self, receiver_port: int) -> None:
        self._receiver_port = receiver_port
        self._ends: set[asyncio.StreamWriter] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._is_up = True

    async def open(self) -> int:
        """Start listening; return the port."""
        self._server = await asyncio.start_server(self._take_up, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Abort all connections and drop new ones."""
        self._is_up = False
        for end in list(self._ends):
            end.transport.abort()

    def mend(self) -> None:
        """Forward new connections again."""
        self._is_up = True

    async def close(self) -> None:
        """Stop listening; no connection is left on return."""
        self.cut()
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._calls)

    def _take_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.ensure_future(self._carry(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            if self._is_up:
                await self._connect(reader, writer)
        except OSError:
            pass  # one side disconnected; close the other
        finally:
            self._ends.discard(writer)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._receiver_port)
        self._ends.add(back)
        ways = [
            asyncio.ensure_future(self._pump(reader, back)),
            asyncio.ensure_future(self._pump(there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._ends.discard(back)
            back.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                drain.write(data)
                await drain.drain()
