"""Inherits listening sockets from systemd: sd_listen_fds(3).

systemd keeps them open while the service restarts: new connections wait in the kernel's
backlog instead of being refused.
"""

import os
import socket
from collections.abc import MutableMapping, Sequence

from sync.runtime.settings.types import is_loopback

FIRST_DESCRIPTOR = 3


class UnfitSocket(Exception):  # noqa: N818 - names the thing that is wrong
    """A file descriptor from systemd is not usable as a listening socket."""


def inherited_sockets(
    environ: MutableMapping[str, str], pid: int, first_descriptor: int = FIRST_DESCRIPTOR
) -> list[socket.socket]:
    """Return the sockets passed to this process by systemd; empty on a second call.

    Removes the variables from `environ` and makes the sockets non-inheritable. Raises
    `UnfitSocket`.
    """
    for_whom = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if for_whom != str(pid) or not count.isdecimal():
        return []
    return [_adopt(first_descriptor + number) for number in range(int(count))]


def check_reach(sockets: Sequence[socket.socket], *, guarded: bool) -> None:
    """Raise `UnfitSocket` if a socket is reachable from the network and `guarded` is false.

    `guarded`: the API requires a token over TLS.
    """
    for given in sockets:
        host, port = given.getsockname()[:2]
        if not guarded and not is_loopback(host):
            raise UnfitSocket(
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
        raise UnfitSocket(
            f"descriptor {descriptor} from systemd is not a listening TCP socket: its socket"
            " unit needs ListenStream= with an address and a port, and Accept=no"
        )
    adopted.setblocking(False)
    return adopted
