"""Holds a port on both loopback addresses, 127.0.0.1 and ::1.

`localhost` is the one to some clients and the other to others. If only one is held, any local user
can bind the other and receive what clients send to `localhost`.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence

from sync.runtime.logging import log_event
from sync.runtime.network.socket_table import listening_user

_log = logging.getLogger(__name__)
# Listen backlog: connections that arrive in one burst, or during a restart, wait here.
BACKLOG = 1024
# While another process holds the other address, try to take it this often.
RETRY_SECONDS = 5.0
NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_PORT_ATTEMPTS = 32
V4, V6 = "127.0.0.1", "::1"
_OTHER = {V4: V6, V6: V4}
_FIRST = {"localhost": V4, V4: V4, V6: V6}


def is_paired(host: str) -> bool:
    """Return whether `host` is one of the two loopback addresses, or both by name."""
    return host in _FIRST


def addresses_of(host: str) -> tuple[str, ...]:
    """Return the addresses that are held for the configured `host`."""
    return (_FIRST[host], _OTHER[_FIRST[host]]) if is_paired(host) else (host,)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an IP address. Raises `OSError`.

    No SO_REUSEPORT: another socket on the same address must fail.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def loopback_sockets(host: str, port: int) -> list[socket.socket]:
    """Return sockets on both loopback addresses, with the same port if `port` is 0.

    Only the one for `host` if the other cannot be had now: see `OtherLoopback`. Raises `OSError`.
    """
    first, other = addresses_of(host)
    for _ in range(_PORT_ATTEMPTS):
        listening = listen(first, port)
        try:
            return [listening, listen(other, listening.getsockname()[1])]
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                return [listening]
            listening.close()
    raise OSError(errno.EADDRINUSE, "no port is free on both loopback addresses")


class OtherLoopback:
    """Takes the loopback address that `hold` finds missing, now or as soon as it is free.

    Clients of the address that is held are served meanwhile. `taken_by_another` names the address
    that another process has; None if there is none.
    """

    def __init__(self) -> None:
        self.taken_by_another: str | None = None
        self._is_logged = False
        self._again: asyncio.TimerHandle | None = None

    def hold(
        self, sockets: Sequence[socket.socket], accept_on: Callable[[socket.socket], None]
    ) -> None:
        """Take the address that `sockets` lack of a pair; call `accept_on` with its socket."""
        if missing := _missing(sockets):
            self._take(*missing, accept_on)

    def stop(self) -> None:
        """Stop trying. Idempotent."""
        if self._again is not None:
            self._again.cancel()

    def _take(self, host: str, port: int, accept_on: Callable[[socket.socket], None]) -> None:
        try:
            listening = listen(host, port)
        except OSError as error:
            self._report(host, port, error)
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(RETRY_SECONDS, self._take, host, port, accept_on)
            return
        if self._is_logged:
            log_event(_log, logging.INFO, "http.loopback_held", address=_address(host, port))
        self.taken_by_another = None
        accept_on(listening)

    def _report(self, host: str, port: int, error: OSError) -> None:
        is_absent = error.errno in NO_SUCH_ADDRESS
        address = _address(host, port)
        self.taken_by_another = None if is_absent else address
        if self._is_logged:
            return
        self._is_logged = True
        if is_absent:
            reason = "this machine has no such address; the port is held on the other one alone"
            log_event(_log, logging.INFO, "http.one_loopback", address=address, reason=reason)
            return
        reason = f"clients that call localhost may reach another program ({error.strerror})"
        log_event(
            _log,
            logging.ERROR,
            "http.loopback_taken",
            address=address,
            user=listening_user(host, port),
            reason=reason,
        )


def _missing(sockets: Sequence[socket.socket]) -> tuple[str, int] | None:
    """Return the other address of the first socket if none of `sockets` has it.

    A further one may be that of a socket unit which was not moved to another port or address with
    the first.
    """
    held: list[tuple[str, int]] = [one.getsockname()[:2] for one in sockets]
    host, port = held[0]
    other = _OTHER.get(host)
    return None if other is None or (other, port) in held else (other, port)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
