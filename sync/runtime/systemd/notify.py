"""Notifies systemd: service ready, alive (watchdog), stopping. sd_notify(3).

The event loop sends each keep-alive after a response of the store, so a hang of either stops
them and systemd restarts the service. A full or missing disk counts as a response: a restart
would not repair it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"
# Begins the status of a service that did not start with its present configuration.
USES_EARLIER = "Uses the configuration of "
# Keep-alives per watchdog timeout: one may be late or lost.
KEEPALIVES_PER_TIMEOUT = 4
# Interval where no watchdog is set: READY has to be sent all the same.
_DEFAULT_SECONDS = 60.0

Ping = Callable[[], Awaitable[bool]]


def notify(state: str, environ: Mapping[str, str]) -> bool:
    """Send `state` to the service manager in one datagram; return whether it was sent.

    Never blocks: a busy service manager must not stop the event loop.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # the name of an abstract socket starts with a zero byte
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(state.encode(), address)
    except OSError:
        return False
    return True


@asynccontextmanager
async def systemd_notified(ping: Ping, environ: Mapping[str, str], pid: int) -> AsyncIterator[None]:
    """Notify systemd: ready and alive while the block runs, stopping afterwards.

    Does nothing if systemd did not start this process. `ping` returns once the store has
    responded: True, or False if it could not be reached.
    """
    if not environ.get("NOTIFY_SOCKET"):
        yield
        return

    def send(state: str) -> bool:
        return notify(state, environ)

    sending = asyncio.create_task(send_keepalives(ping, send, keepalive_seconds(environ, pid)))
    try:
        yield
    finally:
        sending.cancel()
        send(STOPPING)


async def send_keepalives(ping: Ping, send: Callable[[str], object], seconds: float) -> None:
    """Send a keep-alive after each successful ping, every `seconds`; never returns.

    Each one repeats READY, so that a lost first message does no harm.
    """
    while True:
        if await ping():
            send(f"{READY}\n{ALIVE}")
        await asyncio.sleep(seconds)


def keepalive_seconds(environ: Mapping[str, str], pid: int) -> float:
    """Return the interval between two keep-alives: sd_watchdog_enabled(3)."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return _DEFAULT_SECONDS
    try:
        timeout_seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return _DEFAULT_SECONDS
    return timeout_seconds / KEEPALIVES_PER_TIMEOUT if timeout_seconds > 0 else _DEFAULT_SECONDS
