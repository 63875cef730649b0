"""Limits of a server's open connections: deadlines, and a bound that no peer exhausts for others.

Pure, no I/O, no clock: times are seconds of a monotonic clock.

At the bound a new connection displaces the longest idle ones of the peer that holds the most. A
fixed bound per peer would not do: behind a reverse proxy or a store's router, many agents are one
peer, and on a POS machine all tills are. So a peer's share is bounded only when others need it.
"""

import heapq
import ipaddress
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

# Time for TLS and a request head, at both programs.
HEAD_SECONDS = 15.0
# A peer that reads less of its response than this within this time is gone.
WRITE_STALL_SECONDS = 60.0
WRITE_STALL_BYTES = 16 * 1024
# Displaced at once, so that the search for them is rare: a 64th of the bound.
_DISPLACED_SHARE = 64
# From this share of the bound on, connections are closed after their response instead of kept.
_CROWDED = 7 / 8
# One host of IPv6 owns a whole /64 and can use any address in it.
_IPV6_HOST_BITS = 64


class Phase(Enum):
    """Phase of a connection. TLS and the first request head are part of OPENING."""

    OPENING = auto()
    HEAD = auto()
    ACTIVE = auto()
    IDLE = auto()


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of a server: two deadlines, and the connections of all peers together.

    `head_seconds` begins with the opening, and for later heads with their first byte.
    """

    head_seconds: float
    idle_seconds: float
    most: int


@dataclass(slots=True, eq=False)
class Connection:
    """An open connection. `since`: start of its phase.

    `is_receiving`: its body is incomplete; `unsent`: the bytes of responses that wait for the peer.
    """

    peer: str
    since: float
    abort: Callable[[], object]
    is_receiving: Callable[[], bool] = lambda: False
    phase: Phase = Phase.OPENING
    unsent: Callable[[], int] = lambda: 0
    stalled_since: float | None = None
    stalled_at: int = 0

    def enter(self, phase: Phase, now: float) -> None:
        """Begin a phase."""
        self.phase, self.since = phase, now

    def pause_writing(self, now: float) -> None:
        """Note that the peer does not read its response as fast as it is written."""
        self.stalled_since, self.stalled_at = now, self.unsent()

    def note_reading(self, now: float) -> None:
        """Note that the peer has read some of a response that was written as a whole."""
        if self.stalled_since is not None and self.unsent() <= self.stalled_at - WRITE_STALL_BYTES:
            self.pause_writing(now)

    def resume_writing(self, now: float) -> None:
        """Note that the peer has read; a response that takes long is no idle connection."""
        self.stalled_since = None
        self.since = now


@dataclass(slots=True)
class ConnectionTable:
    """The open connections of a server. Not thread-safe; event loop only."""

    limits: ConnectionLimits
    _open: dict[Connection, None] = field(default_factory=dict)
    _of_peer: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _most_of_a_peer: int = 0

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Add a new connection."""
        self._open[connection] = None
        self._of_peer[connection.peer] += 1

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection. Idempotent."""
        if connection in self._open:
            del self._open[connection]
            self._of_peer[connection.peer] -= 1
            if not self._of_peer[connection.peer]:
                del self._of_peer[connection.peer]

    def overdue(self, now: float) -> list[Connection]:
        """Return the connections past their deadline."""
        self._most_of_a_peer = max(self._of_peer.values(), default=0)
        for connection in self._open:
            connection.note_reading(now)
        return [connection for connection in self._open if self._deadline(connection) <= now]

    def displaced_by(self, peer: str) -> list[Connection] | None:
        """Return the connections to close before `peer` opens another one.

        Empty below the bound; None if the new one is to be refused: all connections of the peers
        that hold as many as `peer` or more are active.
        """
        if len(self._open) < self.limits.most:
            return []
        excess = len(self._open) - self.limits.most + 1
        wanted = max(excess, self.limits.most // _DISPLACED_SHARE)
        displaced = self._longest_idle(wanted, self._of_peer.get(peer, 0))
        return displaced if len(displaced) >= excess else None

    def is_to_end(self, connection: Connection) -> bool:
        """Return whether to close `connection` after its response, because the bound is near.

        Clients that are told so lose no request. Spares peers that hold far fewer connections than
        another one, as `displaced_by` does. That other one is found by `overdue`.
        """
        if len(self._open) < _CROWDED * self.limits.most:
            return False
        return 2 * self._of_peer.get(connection.peer, 0) >= self._most_of_a_peer

    def longest_idle(self) -> list[Connection]:
        """Return the connections to close when the process is out of descriptors."""
        return self._longest_idle(max(1, len(self._open) // _DISPLACED_SHARE), 0)

    def _longest_idle(self, wanted: int, least: int) -> list[Connection]:
        """Return up to `wanted` connections of peers that hold `least` or more, the most first."""
        displaceable = defaultdict(list)
        for connection in self._open:
            if (order := _order(connection)) is not None:
                displaceable[connection.peer].append((order, connection))
        for of_peer in displaceable.values():
            of_peer.sort(key=lambda entry: entry[0], reverse=True)
        held_by = {peer: self._of_peer[peer] for peer in displaceable}
        peers = [(-held, peer) for peer, held in held_by.items() if held >= least]
        heapq.heapify(peers)
        chosen: list[Connection] = []
        while peers and len(chosen) < wanted:
            held, peer = heapq.heappop(peers)
            chosen.append(displaceable[peer].pop()[1])
            if displaceable[peer]:
                heapq.heappush(peers, (held + 1, peer))
        return chosen

    def _deadline(self, connection: Connection) -> float:
        if connection.stalled_since is not None:
            return connection.stalled_since + WRITE_STALL_SECONDS
        match connection.phase:
            case Phase.OPENING | Phase.HEAD:
                return connection.since + self.limits.head_seconds
            case Phase.IDLE:
                return connection.since + self.limits.idle_seconds
            case Phase.ACTIVE:
                return float("inf")


def _order(connection: Connection) -> tuple[bool, float] | None:
    """Return the rank among those to close, the lowest first; None for one that must stay.

    A connection that waits for its peer within a request comes after all that wait between two:
    it may be an honest one on a slow line.
    """
    waits = connection.stalled_since is not None
    if connection.phase is Phase.ACTIVE:
        waits = waits or connection.is_receiving()
        return (True, connection.since) if waits else None
    return waits, connection.since


def peer_of(address: object) -> str:
    """Return the peer of a socket address: the host of IPv4, the /64 network of IPv6."""
    return network_of(str(address[0]) if isinstance(address, tuple) and address else "")


def network_of(host: str) -> str:
    """Return the IPv4 address, or the /64 network of an IPv6 address; any other text as it is."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(ip) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))
    return host
