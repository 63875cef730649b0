"""The one thread that writes: what waits goes into one transaction and one sync.

Flow: loop thread > queue > [group: record, commit, sync] > loop thread, which answers.

There is no delay to gather a group. While one group syncs, the next one forms in the queue
by itself; a lonely capture is committed at once. The answer leaves the thread only after
COMMIT has returned, and COMMIT returns after the WAL is synced (`database.py`).

The store is opened in this thread too, and again whenever it failed: the agent starts and
answers on a full or missing disk, and takes captures as soon as it can.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeVar

from agent.facts import Capture, Moment, Outcome
from agent.store.files.storage_errors import (
    StorageDamaged,
    StorageDown,
    StorageFull,
    StorageTrouble,
)
from agent.store.store import (
    PAGES_BEFORE_FORCED_CHECKPOINT,
    PAGES_PER_CHECKPOINT,
    Store,
)
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_GROUP = 512
MAX_WAITING = 10_000
REOPEN_SECONDS = 1.0


class Overloaded(StorageTrouble):
    """More captures wait than the writer will hold: ask again in a moment."""


class Opener(Protocol):
    """What the writer needs of `StoreOpener`."""

    def open(self) -> Store:
        """Open the store or raise a `StorageTrouble`."""

    def set_aside(self, reason: str) -> None:
        """Move a damaged database out of the way."""


class CommitWatch(Protocol):
    """Is told of each commit, in the writer's thread."""

    def committed(self, captures: int, seconds: float) -> None:
        """Note that `captures` went to the disk together, in `seconds`."""


@dataclass(slots=True)
class _Recording:
    capture: Capture
    moment: Moment
    reply: asyncio.Future[Outcome]


@dataclass(slots=True)
class _Chore:
    work: Callable[[Store], object]
    reply: asyncio.Future[object]


class _Stop:
    """Marks the end of the queue."""


_Item = _Recording | _Chore | _Stop
_Answer = tuple["asyncio.Future[Outcome] | asyncio.Future[object]", object]


class Writer:
    """Records captures and runs chores in its thread, from `start` to `close`.

    Called from the event loop's thread alone.
    """

    def __init__(
        self,
        opener: Opener,
        watch: CommitWatch,
        *,
        reopen_seconds: float = REOPEN_SECONDS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._opener = opener
        self._watch = watch
        self._reopen_seconds = reopen_seconds
        self._max_waiting = max_waiting
        self._gathered: list[_Item] = []
        self._waiting = 0
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._closing = False
        # The writer's thread alone uses what follows.
        self._store: Store | None = None
        self._in_hand: list[_Item] = []
        self._held_answers: list[_Answer] = []
        self._reopen_at = 0.0
        self._trouble: StorageTrouble = StorageDown("the store is not open yet")

    def start(self) -> None:
        """Start the thread; it opens the store and serves what was queued meanwhile."""
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[None] = self._loop.create_future()
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many captures and chores wait for the writer."""
        return self._waiting

    def record(self, capture: Capture, moment: Moment) -> "asyncio.Future[Outcome]":
        """Return what becomes the outcome once the capture is on the disk.

        The future raises a `StorageTrouble` where the disk fails it; raises `Overloaded`
        at once when too many wait, and `StorageDown` after `close`.
        """
        reply: asyncio.Future[Outcome] = self._loop.create_future()
        self._put(_Recording(capture, moment, reply))
        return reply

    async def run(self, chore: Callable[[Store], T]) -> T:
        """Run `chore` in the writer's thread, after the captures that wait; return its result."""
        reply: asyncio.Future[object] = self._loop.create_future()
        self._put(_Chore(chore, reply))
        return await reply  # type: ignore[return-value] # the reply is what this chore returned

    async def check(self, timeout_seconds: float) -> None:
        """Return if captures can be taken now; raise the `StorageTrouble` if not.

        The writer's own thread answers, so one that hangs is found out.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.run(Store.require_room)
        except TimeoutError:
            raise StorageDown("the disk does not answer in time") from None

    async def pulse(self) -> bool:
        """Return True once the writer's thread has answered, whatever the disk's state is.

        False where it could not be asked: too much waits for it, or it has ended.
        """
        reply: asyncio.Future[object] = self._loop.create_future()
        try:
            self._put(_Chore(_do_nothing, reply))
        except StorageTrouble:
            return False
        with contextlib.suppress(StorageTrouble):
            await reply
        return not self.died.done()

    async def close(self) -> None:
        """Commit and answer all that was taken, then end the thread; twice is harmless."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._queue.put(_Stop())
        await asyncio.to_thread(self._thread.join)

    def _put(self, item: _Recording | _Chore) -> None:
        if self._closing or self.died.done():
            raise StorageDown("the agent is stopping")
        if self._waiting >= self._max_waiting:
            raise Overloaded("too many captures wait for the disk")
        self._waiting += 1
        self._gathered.append(item)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Give the writer what this turn of the loop gathered: one wake-up for all of it.

        That is no delay: woken earlier, the thread would only wait for the interpreter's
        lock until the turn is over.
        """
        for item in self._gathered:
            self._queue.put(item)
        self._gathered.clear()

    def _settle(self, answers: Sequence[_Answer]) -> None:
        """Answer those who wait, in the loop's thread."""
        self._waiting -= len(answers)
        for reply, answer in answers:
            if reply.done():  # its request was given up; the capture stands all the same
                continue
            if isinstance(answer, BaseException):
                reply.set_exception(answer)
            else:
                reply.set_result(answer)  # type: ignore[arg-type] # paired when it was taken

    # From here on: the writer's thread.

    def _run(self) -> None:
        try:
            self._reopen()
            while self._serve_once():
                pass
            self._close_store()
        except BaseException:  # noqa: BLE001 - a fault of this program: no till is left unanswered
            _log.critical("writer.died", exc_info=True)
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """Answer what was in the dead thread's hands and what waits; nothing more is taken.

        In the loop's thread: nothing can be put between the look at the queue and the end.
        """
        self.died.set_result(None)
        self._hand_over()
        self._settle(self._held_answers)
        left = [item for item in (*self._in_hand, *self._drain()) if not isinstance(item, _Stop)]
        self._settle([(item.reply, self._stopped()) for item in left if not item.reply.done()])

    def _serve_once(self) -> bool:
        items = self._take()
        recordings = [item for item in items if isinstance(item, _Recording)]
        if recordings:
            outcomes = self._record(recordings, retry=True)
            self._let_answers_go()
            replies = [item.reply for item in recordings]
            self._held_answers = list(zip(replies, outcomes, strict=True))
        if self._queue.empty() or len(recordings) < len(items):
            self._let_answers_go()
        for item in items:
            if isinstance(item, _Chore):
                self._answer([(item.reply, self._run_chore(item))])
        self._checkpoint_if_due()
        return not any(isinstance(item, _Stop) for item in items)

    def _take(self) -> list[_Item]:
        """Wait for the next item and take with it what else stands in the queue."""
        try:
            items = [self._queue.get(timeout=None if self._store else self._reopen_seconds)]
        except queue.Empty:
            items = []
        self._in_hand = items
        if self._store is None and perf_counter() >= self._reopen_at:
            self._reopen()
        with contextlib.suppress(queue.Empty):
            while len(items) < MAX_GROUP:
                items.append(self._queue.get_nowait())
        return items

    def _record(self, recordings: Sequence[_Recording], *, retry: bool) -> Sequence[object]:
        """Return an outcome or an exception for each."""
        if self._store is None:
            return [self._trouble] * len(recordings)
        started = perf_counter()
        try:
            captures = [(item.capture, item.moment) for item in recordings]
            outcomes = self._store.record(captures, self._let_answers_go)
        except StorageTrouble as trouble:
            self._recover_from(trouble)
            if retry and not isinstance(trouble, StorageFull):
                return self._record(recordings, retry=False)
            return [trouble] * len(recordings)
        except Exception as error:  # noqa: BLE001 - a bad capture must not hurt its neighbours
            if len(recordings) == 1:
                return [error]
            return [self._record([item], retry=retry)[0] for item in recordings]
        self._watch.committed(len(recordings), perf_counter() - started)
        return outcomes

    def _run_chore(self, chore: _Chore) -> object:
        """Return what the chore returns or raises."""
        if self._store is None:
            return self._trouble
        try:
            return chore.work(self._store)
        except StorageTrouble as trouble:
            self._recover_from(trouble)
            return trouble
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for the chore
            return error

    def _checkpoint_if_due(self) -> None:
        if self._store is None:
            return
        pages = self._store.pages_since_checkpoint
        idle = pages >= PAGES_PER_CHECKPOINT and self._queue.empty()
        if idle or pages >= PAGES_BEFORE_FORCED_CHECKPOINT:
            self._let_answers_go()
            try:
                self._store.checkpoint()
            except StorageTrouble as trouble:
                self._recover_from(trouble)

    def _recover_from(self, trouble: StorageTrouble) -> None:
        """Set a damaged file aside, open a failing one anew; a full disk only waits."""
        if isinstance(trouble, StorageFull):
            return
        self._close_store()
        if isinstance(trouble, StorageDamaged):
            # Where it cannot be moved now, opening finds the damage again and tries again.
            with contextlib.suppress(OSError):
                self._opener.set_aside(str(trouble))
        self._reopen()

    def _reopen(self) -> None:
        self._reopen_at = perf_counter() + self._reopen_seconds
        try:
            self._store = self._opener.open()
        except StorageTrouble as trouble:
            if str(trouble) != str(self._trouble):
                log_event(_log, logging.ERROR, "store.not_open", reason=str(trouble))
            self._trouble = trouble

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            # What was answered is on the disk; a file that does not even close is left as it is.
            with contextlib.suppress(sqlite3.Error, OSError):
                store.close()

    def _let_answers_go(self) -> None:
        """Send off the answers of the group before.

        Where the next group waits already they are held until that one is on its way to the
        disk, a fraction of a millisecond: the loop then answers while the disk works, and
        does not stand in the way of what has to be done before.
        """
        if self._held_answers:
            self._answer(self._held_answers)
            self._held_answers = []

    def _answer(self, answers: Sequence[_Answer]) -> None:
        """Hand all answers to the loop in one step: waking it costs more than they do."""
        self._loop.call_soon_threadsafe(self._settle, answers)

    def _drain(self) -> list[_Item]:
        items: list[_Item] = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        return items

    @staticmethod
    def _stopped() -> StorageDown:
        return StorageDown("the writer has stopped on a fault of this program")


def _do_nothing(_: Store) -> None:
    """Be the chore that only shows that chores are done."""
