"""Memory budget for the bodies of all concurrent requests."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.load_shedding import Overloaded
from sync.receiver.auth.tokens import AgentName

MIB = 1024 * 1024
# Fits the largest body, compressed and decompressed, within the share open to large bodies.
MAX_BYTES = 256 * MIB
# Fixed cost per request: the connection's buffers, the task, its objects.
REQUEST_BYTES = 64 * 1024
# Per-agent limit, so that one agent cannot starve the chain. An agent sends a batch and a
# heartbeat at a time, and may have a few stale requests on broken connections.
MAX_REQUESTS_PER_AGENT = 8
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
        self.reserved_bytes = 0

    @contextmanager
    def reserve(
        self, sender: AgentName, rejection: Callable[[], Overloaded]
    ) -> Iterator["Reservation"]:
        """Provide a reservation, released at exit. Raises `rejection()` if there is no room."""
        if self._requests[sender] >= MAX_REQUESTS_PER_AGENT:
            raise rejection()
        reservation = Reservation(self)
        self._requests[sender] += 1
        try:
            reservation.add(REQUEST_BYTES)
            yield reservation
        except MemoryBudgetExceeded:
            raise rejection() from None
        finally:
            reservation.release(reservation.bytes)
            self._requests[sender] -= 1
            if not self._requests[sender]:
                del self._requests[sender]

    def change(self, by_bytes: int, share: float = math.inf) -> None:
        """Change the reserved bytes, up to a share. Raises `MemoryBudgetExceeded`."""
        with self._lock:
            if self.reserved_bytes + by_bytes > share * self._max_bytes:
                raise MemoryBudgetExceeded
            self.reserved_bytes += by_bytes


class Reservation:
    """The reserved bytes of one request."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.bytes = 0

    def add(self, more_bytes: int) -> None:
        """Reserve more. Raises `MemoryBudgetExceeded` and then leaves the reservation unchanged."""
        is_small = self.bytes + more_bytes <= _SMALL_BYTES
        self._budget.change(more_bytes, 1.0 if is_small else _LARGE_SHARE)
        self.bytes += more_bytes

    def release(self, released_bytes: int) -> None:
        """Release a part."""
        self._budget.change(-released_bytes)
        self.bytes -= released_bytes
