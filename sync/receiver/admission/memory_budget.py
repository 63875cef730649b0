"""Memory budget for the bodies of all concurrent requests."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.rate_limit import TooBusy
from sync.receiver.auth.tokens import AgentName

MIB = 1024 * 1024
# Fits the largest body, compressed and decompressed, within the share open to large bodies.
MAX_BYTES = 256 * MIB
# Fixed cost per request: the connection's buffers, the task, its objects.
REQUEST_BYTES = 64 * 1024
# Per-agent limit, so that one agent cannot starve the chain. An agent sends a batch and a
# heartbeat at a time, and may have a few stale requests on broken connections.
MOST_REQUESTS_OF_ONE = 8
# The last quarter is reserved for bodies of usual size, so that a few large ones on slow lines
# cannot block them.
_SMALL_BYTES = 2 * MIB
_OF_ALL = 3 / 4


class MemoryBudgetExceeded(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """The memory budget has no room for more bytes of this request."""


class MemoryBudget:
    """Counter of reserved bytes. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        # Large bodies are decompressed in threads.
        self._lock = threading.Lock()
        self._requests: Counter[AgentName] = Counter()
        self.in_hand_bytes = 0

    @contextmanager
    def holding(self, sender: AgentName, too_busy: Callable[[], TooBusy]) -> Iterator["Holding"]:
        """Provide a reservation, released at exit. Raises `too_busy()` if there is no room."""
        if self._requests[sender] >= MOST_REQUESTS_OF_ONE:
            raise too_busy()
        held = Holding(self)
        self._requests[sender] += 1
        try:
            held.add(REQUEST_BYTES)
            yield held
        except MemoryBudgetExceeded:
            raise too_busy() from None
        finally:
            held.give_back(held.bytes)
            self._requests[sender] -= 1
            if not self._requests[sender]:
                del self._requests[sender]

    def take(self, more_bytes: int, of_bytes: int) -> None:
        """Reserve `more_bytes` for a request that then holds `of_bytes`.

        Raises `MemoryBudgetExceeded`.
        """
        share = 1.0 if of_bytes <= _SMALL_BYTES else _OF_ALL
        with self._lock:
            if self.in_hand_bytes + more_bytes > share * self._max_bytes:
                raise MemoryBudgetExceeded
            self.in_hand_bytes += more_bytes

    def give_back(self, fewer_bytes: int) -> None:
        """Release reserved bytes."""
        with self._lock:
            self.in_hand_bytes -= fewer_bytes


class Holding:
    """The reservation of one request."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.bytes = 0

    def add(self, more_bytes: int) -> None:
        """Reserve more. Raises `MemoryBudgetExceeded` and then leaves the reservation unchanged."""
        self._budget.take(more_bytes, self.bytes + more_bytes)
        self.bytes += more_bytes

    def give_back(self, fewer_bytes: int) -> None:
        """Release a part."""
        self._budget.give_back(fewer_bytes)
        self.bytes -= fewer_bytes
