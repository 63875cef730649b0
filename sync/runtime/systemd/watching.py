"""systemd watchdog: keep-alives are sent only while the writer thread responds.

The event loop sends each keep-alive after a response of the writer, so a hang of either stops
them and systemd restarts the service. A full or missing disk counts as a response: a restart
would not repair it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from sync.runtime.systemd.notify import ALIVE, READY, STOPPING, notify

# Keep-alives per watchdog timeout: one may be late or lost.
SIGNS = 4
# Interval where no watchdog is set: READY has to be sent all the same.
_UNWATCHED_SECONDS = 60.0

Pulse = Callable[[], Awaitable[bool]]
Tell = Callable[[str], object]


@asynccontextmanager
async def watched(pulse: Pulse, environ: Mapping[str, str], pid: int) -> AsyncIterator[None]:
    """Notify systemd: ready and alive while the block runs, stopping afterwards.

    Does nothing if systemd did not start this process. `pulse` returns once the writer has
    responded: True, or False if it could not be reached.
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
    """Send a keep-alive after each successful pulse, every `seconds`; never returns.

    Each one repeats READY, so that a lost first message does no harm.
    """
    while True:
        if await pulse():
            tell(f"{READY}\n{ALIVE}")
        await asyncio.sleep(seconds)


def seconds_between_signs(environ: Mapping[str, str], pid: int) -> float:
    """Return the interval between two keep-alives: sd_watchdog_enabled(3)."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return _UNWATCHED_SECONDS
    try:
        patience_seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return _UNWATCHED_SECONDS
    return patience_seconds / SIGNS
