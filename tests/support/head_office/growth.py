"""Measures how the time of an operation grows with its input."""

import time
from collections.abc import Awaitable, Callable

_RUNS = 3


async def fastest(operation: Callable[[], Awaitable[object]], runs: int = _RUNS) -> float:
    """Return the seconds of the fastest of several runs: other load only ever slows one down."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        await operation()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
