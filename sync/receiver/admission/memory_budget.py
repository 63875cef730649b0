"""Memory budget for the bodies of all concurrent requests."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.load_shedding import OverItsShare, Overloaded
from sync.receiver.auth.tokens import AgentName

MIB = 1024 * 1024
# Fits several of the largest bodies, compressed and decompressed.
MAX_BYTES = 256 * MIB
# Fixed cost per request: the connection's buffers, the task, its objects.
REQUEST_BYTES = 64 * 1024
# Per-agent limits, so that one agent cannot starve the chain. An agent sends a batch and a
# heartbeat at a time, and may have a few stale requests on broken connections. The bytes fit the
# largest body, compressed and decompressed.
MAX_REQUESTS_PER_AGENT = 8
MAX_BYTES_PER_AGENT = 48 * MIB
# The last quarter is reserved for bodies of usual size, so that a few large ones on slow lines
# cannot block them.
_SMALL_BYTES = 2 * MIB
_LARGE_SHARE = 3 / 4


class MemoryBudgetExceeded(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """The memory budget has no room for more bytes of this request."""


class MemoryBudget:
    """Counter of reserved bytes. Thread-safe: large bodies are decompressed in threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._requests: Counter[AgentName] = Counter()
        self._bytes: Counter[AgentName] = Counter()
        self.reserved_bytes = 0

    @contextmanager
    def reserve(
        self, sender: AgentName, rejection: Callable[[AgentName], Overloaded]
    ) -> Iterator["Reservation"]:
        """Provide a reservation, released at exit.

        Raises `OverItsShare` if the sender has no room left, `rejection(sender)` if all have none.
        """
        if self._requests[sender] >= MAX_REQUESTS_PER_AGENT:
            raise OverItsShare
        reservation = Reservation(self, sender)
        self._requests[sender] += 1
        try:
            reservation.add(REQUEST_BYTES)
            yield reservation
        except MemoryBudgetExceeded:
            raise rejection(sender) from None
        finally:
            reservation.close()
            self._requests[sender] -= 1
            if not self._requests[sender]:
                del self._requests[sender]

    def change(self, sender: AgentName, by_bytes: int, share: float = math.inf) -> None:
        """Change the reserved bytes, up to a share.

        Raises `OverItsShare` or `MemoryBudgetExceeded`, and then changes nothing.
        """
        with self._lock:
            of_sender = self._bytes[sender] + by_bytes
            if by_bytes > 0 and of_sender > MAX_BYTES_PER_AGENT:
                raise OverItsShare
            if self.reserved_bytes + by_bytes > share * self._max_bytes:
                raise MemoryBudgetExceeded
            self.reserved_bytes += by_bytes
            self._bytes[sender] = of_sender
            if not of_sender:
                del self._bytes[sender]


class Reservation:
    """The reserved bytes of one request, now and at their peak. Thread-safe as its budget is."""

    def __init__(self, budget: MemoryBudget, sender: AgentName) -> None:
        self._budget = budget
        self._sender = sender
        self._lock = threading.Lock()
        self._is_closed = False
        self.bytes = self.peak = 0

    def add(self, more_bytes: int) -> None:
        """Reserve more. Raises as `change` does, and then leaves the reservation unchanged.

        Raises `MemoryBudgetExceeded` after `close`.
        """
        with self._lock:
            if self._is_closed:
                raise MemoryBudgetExceeded
            is_small = self.bytes + more_bytes <= _SMALL_BYTES
            self._budget.change(self._sender, more_bytes, 1.0 if is_small else _LARGE_SHARE)
            self.bytes += more_bytes
            self.peak = max(self.peak, self.bytes)

    def release(self, released_bytes: int) -> None:
        """Release a part."""
        with self._lock:
            self._budget.change(self._sender, -released_bytes)
            self.bytes -= released_bytes

    def close(self) -> None:
        """Release all, for good: the thread of a cancelled request may still be decompressing."""
        with self._lock:
            self._is_closed = True
            self._budget.change(self._sender, -self.bytes)
            self.bytes = 0
