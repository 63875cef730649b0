"""Inherits listening sockets from systemd: sd_listen_fds(3).

systemd keeps them open while the service restarts: new connections wait in the kernel's
backlog instead of being refused.
"""

import os
import socket
from collections.abc import MutableMapping, Sequence

from sync.runtime.settings.types import is_loopback

FIRST_DESCRIPTOR = 3


class UnusableSocketError(Exception):
    """A file descriptor from systemd is not usable as a listening socket."""


def inherited_sockets(
    environ: MutableMapping[str, str], pid: int, first_descriptor: int = FIRST_DESCRIPTOR
) -> list[socket.socket]:
    """Return the sockets passed to this process by systemd; empty on a second call.

    Removes the variables from `environ` and makes the sockets non-inheritable. Raises
    `UnusableSocketError`.
    """
    intended_pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if intended_pid != str(pid) or not count.isdecimal():
        return []
    return [_adopt(first_descriptor + number) for number in range(int(count))]


def check_exposure(sockets: Sequence[socket.socket], *, protected: bool) -> None:
    """Raise `UnusableSocketError` if a socket is open to the network without protection.

    `protected`: the API requires a token over TLS.
    """
    for inherited in sockets:
        host, port = inherited.getsockname()[:2]
        if not protected and not is_loopback(host):
            raise UnusableSocketError(
                f"the socket from systemd listens on {host}:{port}: anyone on the network could"
                " send captures. Set api.token_file, api.tls_cert_file and api.tls_key_file, or"
                " give the socket unit a ListenStream= of 127.0.0.1"
            )


def _adopt(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    adopted = socket.socket(fileno=descriptor)
    listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if adopted.family not in {socket.AF_INET, socket.AF_INET6} or not listens:
        adopted.close()
        raise UnusableSocketError(
            f"descriptor {descriptor} from systemd is not a listening TCP socket: its socket"
            " unit needs ListenStream= with an address and a port, and Accept=no"
        )
    adopted.setblocking(False)
    return adopted
