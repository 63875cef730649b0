"""Runs a program on an event loop of its own in a thread."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from tests.support.patience import PATIENCE_SECONDS

T = TypeVar("T")


@contextmanager
def running_in_a_thread(program: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter `program` on an event loop in a thread until the block ends."""
    started: Future[tuple[T, Callable[[], object]]] = Future()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with program as running:
            started.set_result((running, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    with ThreadPoolExecutor(max_workers=1) as thread:
        ended = thread.submit(asyncio.run, run())
        ended.add_done_callback(lambda run: _fail(started, run))
        running, stop = started.result(PATIENCE_SECONDS)
        try:
            yield running
        finally:
            stop()
            ended.result(PATIENCE_SECONDS)


def _fail(started: Future[T], run: Future[None]) -> None:
    """Fail `started` if the program ended before it was set."""
    if not started.done():
        started.set_exception(run.exception() or RuntimeError("the program ended"))
