"""An event loop in which waiting takes no time: an hour of it passes in an instant."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
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


class AtOnce(ThreadPoolExecutor):
    """Has no threads: what is given to one is done on the spot, and takes no time either."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do the work; return what became of it."""
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is whoever waits for it that is told
            done.set_exception(error)
        return done


class VirtualLoop(asyncio.SelectorEventLoop):
    """Counts the seconds of its selector."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)
        self.set_default_executor(AtOnce())

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._skipping.seconds


def run_in_virtual_time(story: Coroutine[None, None, T]) -> T:
    """Run `story` to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)
