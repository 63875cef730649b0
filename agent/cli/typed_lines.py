"""Reads lines from standard input while a command runs."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 4096


class TypedLines:
    """Queue of the lines of standard input."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._rest = b""

    async def next(self) -> str | None:
        """Wait for a line; return it without surrounding blanks, None at the end of input."""
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    def read(self) -> bool:
        """Queue the lines that can be read now; return False at the end of input."""
        try:
            read = os.read(sys.stdin.fileno(), _CHUNK_BYTES)
        except OSError:
            read = b""
        *lines, self._rest = (self._rest + read).split(b"\n")
        if not read and self._rest:
            lines.append(self._rest)  # without a line feed
        for line in lines:
            self._lines.put_nowait(line.decode(errors="replace").strip())
        if not read:
            self._lines.put_nowait(None)
        return bool(read)


@asynccontextmanager
async def typed_lines() -> AsyncIterator[TypedLines]:
    """Yield the lines of standard input, which stays in blocking mode."""
    lines, loop = TypedLines(), asyncio.get_running_loop()

    def read() -> None:
        if not lines.read():
            loop.remove_reader(sys.stdin.fileno())

    try:
        loop.add_reader(sys.stdin.fileno(), read)
    except (OSError, ValueError):  # closed, or a file, which is always ready
        while lines.read():
            pass
        yield lines
        return
    try:
        yield lines
    finally:
        loop.remove_reader(sys.stdin.fileno())
