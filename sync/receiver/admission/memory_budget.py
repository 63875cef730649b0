"""The bytes of request bodies in hand at one time, over all requests: bounded, whatever comes."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.rate_limit import TooBusy
from sync.receiver.auth.tokens import AgentName

MIB = 1024 * 1024
# Room for the largest body there is, as it came and decoded, within the part that is for all.
MAX_BYTES = 256 * MIB
# What a request costs whatever its size: its connection's buffers, its task, its objects.
REQUEST_BYTES = 64 * 1024
# An agent sends a batch and a heartbeat, and may have lost the line under a few before: whoever
# does more must not take the room of the whole chain.
MOST_REQUESTS_OF_ONE = 8
# A few large bodies on slow lines must not keep out those of a usual size: the last quarter is
# for these alone.
_SMALL_BYTES = 2 * MIB
_OF_ALL = 3 / 4


class NoRoom(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """There is no room for more bytes of this request."""


class Budget:
    """So many bytes."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        # Large bodies are decoded in threads.
        self._lock = threading.Lock()
        self._requests: Counter[AgentName] = Counter()
        self.in_hand_bytes = 0

    @contextmanager
    def holding(self, sender: AgentName, too_busy: Callable[[], TooBusy]) -> Iterator["Holding"]:
        """Let the body run with a share that ends with it; raises what `too_busy` makes if not."""
        if self._requests[sender] >= MOST_REQUESTS_OF_ONE:
            raise too_busy()
        held = Holding(self)
        self._requests[sender] += 1
        try:
            held.add(REQUEST_BYTES)
            yield held
        except NoRoom:
            raise too_busy() from None
        finally:
            held.give_back(held.bytes)
            self._requests[sender] -= 1
            if not self._requests[sender]:
                del self._requests[sender]

    def take(self, more_bytes: int, of_bytes: int) -> None:
        """Take more for a request that then holds `of_bytes`. Raises `NoRoom`."""
        share = 1.0 if of_bytes <= _SMALL_BYTES else _OF_ALL
        with self._lock:
            if self.in_hand_bytes + more_bytes > share * self._max_bytes:
                raise NoRoom
            self.in_hand_bytes += more_bytes

    def give_back(self, fewer_bytes: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self.in_hand_bytes -= fewer_bytes


class Holding:
    """What one request holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.bytes = 0

    def add(self, more_bytes: int) -> None:
        """Hold more. Raises `NoRoom`; then it holds as much as before."""
        self._budget.take(more_bytes, self.bytes + more_bytes)
        self.bytes += more_bytes

    def give_back(self, fewer_bytes: int) -> None:
        """Hold less."""
        self._budget.give_back(fewer_bytes)
        self.bytes -= fewer_bytes
