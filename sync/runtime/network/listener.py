"""Accepts connections on listening sockets, within the limits of a `ConnectionTable`.

asyncio's servers accept without a bound, and give a connection to its protocol only after the TLS
handshake. A peer that opens connections and says nothing would take every descriptor of the
process before anything could close one. So the accepting is done here.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial

from sync.runtime.network.connections import Connection, ConnectionTable, peer_of
from sync.runtime.network.loopback import (
    BACKLOG,
    NO_SUCH_ADDRESS,
    is_paired,
    listen,
    loopback_sockets,
)
from sync.runtime.summed_log import SummedLog

_log = logging.getLogger(__name__)
# Accepted per iteration of the event loop: requests in progress go on between two bursts.
_BURST = 32
# Without a free descriptor: retry after this, instead of at once and for ever.
_EXHAUSTED_SECONDS = 0.1
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# The check of deadlines runs this often, or several times within the shortest one.
_SWEEP_SECONDS = 1.0
_SWEEPS_WITHIN_A_DEADLINE = 4


async def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on each address of `host`, and on both of loopback.

    Raises `OSError`. An address family that this machine lacks is left out if another one works.
    """
    if is_paired(host):
        return loopback_sockets(host, port)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listening: list[socket.socket] = []
    failed: OSError | None = None
    for *_, address in dict.fromkeys(found):
        try:
            listening.append(listen(str(address[0]), port))
        except OSError as error:
            if error.errno not in NO_SUCH_ADDRESS:
                for one in listening:
                    one.close()
                raise
            failed = error
    if not listening and failed is not None:
        raise failed
    return listening


class Listener:
    """Accepts connections from `start` to `stop`.

    `protocol` makes the protocol of a connection, `tls` returns its TLS context. A connection that
    was accepted right before `stop` is opened after it, until `close`: its request may be sent
    already.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        table: ConnectionTable,
        protocol: Callable[[Connection], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self._sockets = list(sockets)
        self._table = table
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        shortest = min(table.limits.head_seconds, table.limits.idle_seconds)
        self._sweep_seconds = min(_SWEEP_SECONDS, shortest / _SWEEPS_WITHIN_A_DEADLINE)
        self._bound: dict[str, object] = {"limit": table.limits.most}
        self._full = SummedLog(_log, "http.connections_full")
        self._exhausted = SummedLog(_log, "http.out_of_descriptors")

    def start(self) -> None:
        """Begin to accept."""
        for listening in self._sockets:
            self._begin(listening)

    def add(self, listening: socket.socket) -> None:
        """Accept on a further socket."""
        self._sockets.append(listening)
        self._begin(listening)

    def _begin(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        listening.listen(BACKLOG)
        self._resume(listening)

    def stop(self) -> None:
        """Stop accepting and close the sockets. Idempotent."""
        for listening in self._sockets:
            if listening.fileno() >= 0:
                self._loop.remove_reader(listening.fileno())
                listening.close()
        self._full.close()
        self._exhausted.close()

    def close(self) -> None:
        """Close the connections that are not open yet. Idempotent."""
        for task in self._opening:
            task.cancel()

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening.fileno(), self._accept_burst, listening)

    def _accept_burst(self, listening: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._recover(listening, error)
                    return
                continue  # the connection failed before it was accepted: accept(2)
            self._admit(accepted, peer_of(address))

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        displaced = self._table.displaced_by(peer)
        if displaced is None:
            accepted.close()
            self._full.count(refused=1, fields=self._bound)
            return
        if displaced:
            self._full.count(closed=len(displaced), fields=self._bound)
            self._abort(displaced)
        accepted.setblocking(False)
        # Until the protocol has its transport, the connection is aborted by way of the task.
        connection = Connection(peer, self._loop.time(), lambda: None)
        task = self._loop.create_task(self._open(accepted, connection))
        connection.abort = task.cancel
        self._table.add(connection)
        self._opening.add(task)
        task.add_done_callback(partial(self._opened, accepted, connection))
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep)

    async def _open(self, accepted: socket.socket, connection: Connection) -> None:
        """Run the TLS handshake, if any, and hand over to the protocol."""
        seconds = self._table.limits.head_seconds if self._tls else None
        await self._loop.connect_accepted_socket(
            partial(self._protocol, connection),
            accepted,
            ssl=self._tls() if self._tls else None,
            ssl_handshake_timeout=seconds,
        )

    def _opened(
        self, accepted: socket.socket, connection: Connection, task: "asyncio.Task[None]"
    ) -> None:
        self._opening.discard(task)
        if not task.cancelled() and task.exception() is None:
            return
        # The peer left, speaks no TLS or was too slow. Not a fault, nothing to report.
        accepted.close()
        self._table.remove(connection)

    def _recover(self, listening: socket.socket, error: OSError) -> None:
        """Close the longest idle connections, and accept again a moment later."""
        displaced = self._table.longest_idle()
        fields: dict[str, object] = {"error": error.strerror}
        self._exhausted.count(failed=1, closed=len(displaced), fields=fields)
        self._abort(displaced)
        self._loop.remove_reader(listening.fileno())
        self._loop.call_later(_EXHAUSTED_SECONDS, self._resume, listening)

    def _sweep(self) -> None:
        """Close the connections past their deadline; run again while any is open."""
        self._abort(self._table.overdue(self._loop.time()))
        again = len(self._table) > 0
        self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep) if again else None

    def _abort(self, connections: Sequence[Connection]) -> None:
        for connection in connections:
            self._table.remove(connection)
            with contextlib.suppress(OSError):
                connection.abort()
