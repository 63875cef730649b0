"""The tries to exchange a heartbeat with head office, by the opening of the store they began in.

After a Retry-After none is made until then, at most an hour: only an answer of head office, or of a
gateway before it, has one. A line that is down has none, and its return is noticed at once.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from sync.delivery.backoff import MAX_RETRY_AFTER_SECONDS


class HeartbeatTries:
    """One try at a time. Not thread-safe; event loop only."""

    def __init__(self) -> None:
        self._opening: int | None = None
        self._answered: int | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._held_until = 0.0

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

    @property
    def are_held(self) -> bool:
        """Whether head office asked to come again later."""
        return asyncio.get_running_loop().time() < self._held_until

    def hold(self, seconds: float | None) -> None:
        """Make no try for so long, at most an hour."""
        if seconds is not None:
            wait_seconds = min(seconds, MAX_RETRY_AFTER_SECONDS)
            self._held_until = asyncio.get_running_loop().time() + wait_seconds

    def end_hold(self) -> None:
        """Make tries again: head office has accepted something else."""
        self._held_until = 0.0

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
