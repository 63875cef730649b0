"""Sends the service's state to systemd: sd_notify(3), one datagram."""

import socket
from collections.abc import Mapping

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def notify(state: str, environ: Mapping[str, str]) -> bool:
    """Send `state` to the service manager; return whether it was sent.

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
