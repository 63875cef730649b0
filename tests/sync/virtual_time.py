"""An event loop in which waiting takes no time: an hour of it passes in an instant."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


class NothingToWaitFor(AssertionError):  # noqa: N818 - names the state
    """All that runs waits for something that nothing will bring about."""


class SkippingSelector(selectors.DefaultSelector):
    """Where nothing is ready, moves the clock on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now; the time until `timeout` is over with this."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingToWaitFor
        self.seconds += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Counts the seconds of its selector. No threads: their work would take no time either."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._skipping.seconds


def run_in_virtual_time(story: Coroutine[None, None, T]) -> T:
    """Run `story` to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)
