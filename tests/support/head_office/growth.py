"""Measures how the time of an operation grows with its input."""

import time
from collections.abc import Awaitable, Callable

from sync.receiver.db.database import Database
from sync.receiver.db.sqlite import SqliteFile

# Work in proportion gives 1, quadratic work gives `TIMES`; between them lies the noise of a
# shared machine.
TIMES = 4
LIMIT = 2.2
_RUNS, _MOST_RUNS = 5, 40
_ROUNDS = 12


def clock_for(database: Database) -> Callable[[], float]:
    """Return the clock that sees the work of `database`.

    SQLite works in this process: its processor time does not depend on the load of the machine.
    """
    return time.process_time if isinstance(database, SqliteFile) else time.perf_counter


async def fastest(
    operation: Callable[[], Awaitable[object]], clock: Callable[[], float], enough: float = 0.0
) -> float:
    """Return the seconds of the fastest of several runs: other load only ever slows one down.

    Runs more often until one takes less than `enough` seconds: a busy machine fails no test.
    """
    least = float("inf")
    for run in range(_MOST_RUNS):
        began = clock()
        await operation()
        least = min(least, clock() - began)
        if run + 1 >= _RUNS and (not enough or least < enough):
            break
    return least


async def growth(
    database: Database,
    prepare: Callable[[int], Awaitable[Callable[[], Awaitable[object]]]],
    size: int,
    limit: float = LIMIT,
) -> float:
    """Return how much longer `TIMES` the input takes, divided by `TIMES`.

    `prepare` returns the operation to measure for an input of a size. The fastest of several
    rounds counts, so that a busy machine does not; a round below `limit` is the last.
    """
    clock = clock_for(database)
    seconds = {size: float("inf"), size * TIMES: float("inf")}
    for _ in range(_ROUNDS):
        for count, least in seconds.items():
            run = await prepare(count)
            began = clock()
            await run()
            seconds[count] = min(least, clock() - began)
        if (grown := seconds[size * TIMES] / seconds[size] / TIMES) < limit:
            return grown
    return grown
