"""Tells systemd of a service's state: sd_notify(3), which is one datagram."""

import socket
from collections.abc import Mapping

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def notify(state: str, environ: Mapping[str, str]) -> bool:
    """Send `state` to the service manager; tell whether there is one and it took it.

    Never waits: a manager that is too busy to listen must not stop an event loop.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket's name begins with a zero byte
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(state.encode(), address)
    except OSError:
        return False
    return True
