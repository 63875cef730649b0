"""Fake service manager: the receiving end of the notification socket."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import PATIENCE_SECONDS


class Manager:
    """Receives the notifications of a service."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.environ = {"NOTIFY_SOCKET": str(listening.getsockname())}

    async def hears(self) -> list[str]:
        """Return the assignments of the next message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await asyncio.get_running_loop().sock_recv(self._listening, 4096)
        return message.decode().splitlines()

    async def hears_at_last(self, state: str) -> None:
        """Wait for a message with `state`."""
        while state not in await self.hears():
            """Skip other messages."""

    def has_heard_nothing(self) -> bool:
        """Return whether no message is pending."""
        try:
            self._listening.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


@contextmanager
def manager_in(directory: Path) -> Iterator[Manager]:
    """Listen on a socket in `directory`, whose path must be short."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(str(directory / "notify"))
        yield Manager(listening)
