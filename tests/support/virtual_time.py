"""Event loop with virtual time: sleeping advances the clock without waiting."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class NothingToWaitFor(AssertionError):  # noqa: N818 - names the state
    """Deadlock: no task is ready and no timer is set."""


class SkippingSelector(selectors.DefaultSelector):
    """Advances the clock instead of waiting when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the ready keys; if there are none, advance the clock by `timeout`."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingToWaitFor
        self.seconds += timeout
        return ready


class AtOnce(ThreadPoolExecutor):
    """Executor without threads: runs each job synchronously, in no virtual time."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `work`; return a finished future."""
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised to the awaiter
            done.set_exception(error)
        return done


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop whose clock is that of its selector."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)
        self.set_default_executor(AtOnce())

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as inherited
        """Do nothing: there are no threads. The inherited one waits for a real one."""

    def time(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._skipping.seconds


def run_in_virtual_time(scenario: Coroutine[None, None, T]) -> T:
    """Run `scenario` to its end in a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
