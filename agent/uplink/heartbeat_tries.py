"""The tries to exchange a heartbeat with head office, by the opening of the store they began in."""

import asyncio
import contextlib
from collections.abc import Iterator


class HeartbeatTries:
    """One try at a time. Not thread-safe; event loop only."""

    def __init__(self) -> None:
        self._opening: int | None = None
        self._answered: int | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @contextlib.contextmanager
    def one(self, opening: int | None) -> Iterator[None]:
        """Run a try that begins in this opening (None: the store is closed)."""
        self._opening = opening
        try:
            yield
        finally:
            self._opening = None
            waiting, self._waiting = self._waiting, []
            for wanted, end in waiting:
                if opening is not None and opening < wanted:
                    self._waiting.append((wanted, end))
                elif not end.done():
                    end.set_result(None)

    def note_answer(self) -> None:
        """Note that head office has answered the try in progress."""
        self._answered = self._opening

    def has_answer(self, opening: int) -> bool:
        """Return whether a try that began in this opening was answered."""
        return self._answered == opening

    async def ended(self, opening: int) -> None:
        """Wait for the end of a try that began, or begins, in this opening or a later one."""
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((opening, end))
        await end
