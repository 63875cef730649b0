"""Measures how the time of an operation grows with its input."""

import time
from collections.abc import Awaitable, Callable

# Work in proportion gives 1, quadratic work gives `TIMES`; between them lies the noise of a
# shared machine.
TIMES = 4
LIMIT = 2.2
_ROUNDS = 6


async def growth(
    prepare: Callable[[int], Awaitable[Callable[[], Awaitable[object]]]],
    size: int,
    limit: float = LIMIT,
) -> float:
    """Return how much longer `TIMES` the input takes, divided by `TIMES`.

    `prepare` returns the operation to measure for an input of a size. The fastest of several
    rounds counts, so that a busy machine does not; a round below `limit` is the last.
    """
    seconds = {size: float("inf"), size * TIMES: float("inf")}
    for _ in range(_ROUNDS):
        for count, least in seconds.items():
            run = await prepare(count)
            began = time.perf_counter()
            await run()
            seconds[count] = min(least, time.perf_counter() - began)
        if (grown := seconds[size * TIMES] / seconds[size] / TIMES) < limit:
            return grown
    return grown
