"""Concurrency slots, shared out by sender: one at a time each, in the order of arrival.

One sender's requests must not fill the slots, nor the queue of the only writer of a SQLite file
behind them. An agent sends one batch at a time, so more than one is a stale request or malice.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sync.receiver.admission.load_shedding import LoadShedder, OverItsShare
from sync.receiver.auth.tokens import AgentName

# Maximum wait for a slot; shorter than an agent's request timeout.
PATIENCE_SECONDS = 10.0


class ConcurrencyLimiter:
    """Fair semaphore with a bounded wait. Not thread-safe; event loop only.

    Not asyncio's: that one serves request by request, so the sender with most requests most often.
    """

    def __init__(self, shedder: LoadShedder, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._shedder = shedder
        self._patience_seconds = patience_seconds
        self._free = shedder.max_in_flight
        self._served: set[AgentName] = set()
        # A sender that is served keeps its place at the end: the others come before its next one.
        self._waiting: OrderedDict[AgentName, deque[asyncio.Future[None]]] = OrderedDict()

    def check(self, sender: AgentName) -> None:
        """Raise `Overloaded` if a new request would be rejected or wait too long for a slot."""
        self._shedder.check(sender, len(self._waiting.keys() - self._served))

    @asynccontextmanager
    async def slot(self, sender: AgentName) -> AsyncIterator[None]:
        """Hold a slot until exit; raise `Overloaded` if none becomes free in time.

        No check of the queue length here: a body that already arrived over a slow line must not
        be thrown away because others arrived at the same moment.
        """
        await self._acquire(sender)
        try:
            with self._shedder.measured():
                yield
        finally:
            self._release(sender)

    async def _acquire(self, sender: AgentName) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sender, deque()).append(turn)
        self._serve_next()
        try:
            async with asyncio.timeout(self._patience_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release(sender)
            else:
                self._withdraw(sender, turn)
            if isinstance(error, TimeoutError):
                is_own = sender in self._served
                raise (OverItsShare() if is_own else self._shedder.rejection(sender)) from None
            raise

    def _release(self, sender: AgentName) -> None:
        self._served.discard(sender)
        self._free += 1
        if sender in self._waiting:
            self._waiting.move_to_end(sender)
        self._serve_next()

    def _withdraw(self, sender: AgentName, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting.get(sender)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[sender]

    def _serve_next(self) -> None:
        """Give the free slots to the first senders that hold none."""
        while self._free and (turn := self._next_turn()) is not None:
            self._free -= 1
            turn.set_result(None)

    def _next_turn(self) -> "asyncio.Future[None] | None":
        """Remove and return the first turn of the first sender that holds no slot."""
        for sender, turns in self._waiting.items():
            if sender in self._served:
                continue
            turn = turns.popleft()
            if not turns:
                del self._waiting[sender]
            if turn.done():  # cancelled, and its task has not run yet
                return self._next_turn()
            self._served.add(sender)
            return turn
        return None
