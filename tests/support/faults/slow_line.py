"""A slow connection: low bandwidth and high latency."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from agent.drill.proxy import CuttableProxy

DELAY_SECONDS = 0.05


class SlowLine(CuttableProxy):
    """Limits the bandwidth each way and adds a delay."""

    def __init__(self, port: int, bytes_per_second: int) -> None:
        super().__init__(port)
        self._bytes_per_second = bytes_per_second

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(self._bytes_per_second // 20):
                await asyncio.sleep(DELAY_SECONDS + len(data) / self._bytes_per_second)
                target.write(data)
                await target.drain()


@contextlib.asynccontextmanager
async def slow_line_to(url: str, bytes_per_second: int) -> AsyncIterator[str]:
    """Open a slow proxy to the server at `url`; yield its URL."""
    line = SlowLine(int(urlsplit(url).port or 0), bytes_per_second)
    port = await line.open()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await line.close()
