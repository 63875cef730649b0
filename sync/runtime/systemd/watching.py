"""Has systemd believe that a service is alive for exactly as long as its writer answers.

The signs of life come from the event loop, each after an answer of the writer's: a loop that
hangs sends none, a writer that hangs lets none be sent, and systemd starts the service anew.
A disk that is full or gone is an answer too: a new start would not mend it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from sync.runtime.systemd.notify import ALIVE, READY, STOPPING, notify

# Signs in the time after which systemd loses patience: one may come late or be lost.
SIGNS = 4
# Where no watchdog is set, systemd is still told when the service is ready.
_UNWATCHED_SECONDS = 60.0

Pulse = Callable[[], Awaitable[bool]]
Tell = Callable[[str], object]


@asynccontextmanager
async def watched(pulse: Pulse, environ: Mapping[str, str], pid: int) -> AsyncIterator[None]:
    """Tell systemd, if it started this process, that the service is ready, alive, then stopping.

    `pulse` returns once the writer has answered: True, or False where it could not be asked.
    """
    if not environ.get("NOTIFY_SOCKET"):
        yield
        return

    def tell(state: str) -> bool:
        return notify(state, environ)

    watch = asyncio.create_task(give_signs(pulse, tell, seconds_between_signs(environ, pid)))
    try:
        yield
    finally:
        watch.cancel()
        tell(STOPPING)


async def give_signs(pulse: Pulse, tell: Tell, seconds: float) -> None:
    """Tell of each pulse, `seconds` after the one before; never returns.

    Each sign says ready as well: the first one counts, and one that was lost is made up for.
    """
    while True:
        if await pulse():
            tell(f"{READY}\n{ALIVE}")
        await asyncio.sleep(seconds)


def seconds_between_signs(environ: Mapping[str, str], pid: int) -> float:
    """Return how long to wait between two signs: sd_watchdog_enabled(3)."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return _UNWATCHED_SECONDS
    try:
        patience_seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return _UNWATCHED_SECONDS
    return patience_seconds / SIGNS
