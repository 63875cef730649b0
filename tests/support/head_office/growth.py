"""Measures how the time of an operation grows with its input."""

import time
from collections.abc import Awaitable, Callable

_RUNS, _MOST_RUNS = 5, 40


async def fastest(operation: Callable[[], Awaitable[object]], enough: float = 0.0) -> float:
    """Return the seconds of the fastest of several runs: other load only ever slows one down.

    Runs more often until one takes less than `enough` seconds: a busy machine fails no test.
    """
    least = float("inf")
    for run in range(_MOST_RUNS):
        began = time.perf_counter()
        await operation()
        least = min(least, time.perf_counter() - began)
        if run + 1 >= _RUNS and (not enough or least < enough):
            break
    return least
