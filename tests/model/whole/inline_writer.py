"""The agent's writer without its thread: a history is the same each time it runs."""

import asyncio

from agent.store.writer import Writer


class InlineWriter(Writer):
    """Serves its queue in the event loop, as soon as that is free."""

    def start(self) -> None:
        """Open the store."""
        self._loop = asyncio.get_running_loop()
        self.died = self._loop.create_future()
        self._store.open()

    async def close(self) -> None:
        """Serve the rest of the queue and close the store. Idempotent."""
        if not self._closing:
            self._hand_over()
            self._closing = True
            self._store.close()

    def _hand_over(self) -> None:
        super()._hand_over()
        while not self._queue.empty():
            self._serve_once()
