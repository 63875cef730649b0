"""The single writer thread: group commit, one transaction and one fsync for all queued captures.

Flow: event loop > queue > [group: record, COMMIT, fsync] > event loop > answers.

There is no delay to collect a group: while one group is synced, the next one collects in the queue,
and a single capture is committed at once. An answer leaves the thread only after COMMIT has
returned, and COMMIT returns after the WAL is synced (`database.py`).

The thread also opens the store, and reopens it after each failure: the agent starts and answers
with a full or missing disk, and takes captures as soon as it can.
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

from agent.facts import Capture, Outcome, Timestamp
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
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


class WriterOverloadedError(StorageError):
    """The queue is full; retry in a moment."""


class Opener(Protocol):
    """Opens the store for the writer (see `StoreOpener`)."""

    def open(self) -> Store:
        """Open the store or raise a `StorageError`."""

    def set_aside(self, reason: str) -> None:
        """Quarantine a damaged database."""


class CommitObserver(Protocol):
    """Observes commits, in the writer's thread."""

    def committed(self, captures: int, seconds: float) -> None:
        """Record one commit of `captures` captures that took `seconds`."""


@dataclass(slots=True)
class _Recording:
    capture: Capture
    moment: Timestamp
    reply: asyncio.Future[Outcome]


@dataclass(slots=True)
class _Job:
    work: Callable[[Store], object]
    reply: asyncio.Future[object]


class _Stop:
    """Marks the end of the queue."""


_Item = _Recording | _Job | _Stop
_Answer = tuple["asyncio.Future[Outcome] | asyncio.Future[object]", object]


class Writer:
    """Runs captures and jobs in its thread, from `start` to `close`.

    Not thread-safe; event loop only.
    """

    def __init__(
        self,
        opener: Opener,
        watch: CommitObserver,
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
        # Used by the writer's thread only:
        self._store: Store | None = None
        self._in_hand: list[_Item] = []
        self._held_answers: list[_Answer] = []
        self._reopen_at = 0.0
        self._trouble: StorageError = StorageDownError("the store is not open yet")

    def start(self) -> None:
        """Start the thread; it opens the store and serves the queue."""
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[None] = self._loop.create_future()
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of captures and jobs in the queue."""
        return self._waiting

    def record(self, capture: Capture, moment: Timestamp) -> "asyncio.Future[Outcome]":
        """Queue a capture; the future returns its outcome once it is on disk.

        The future raises a `StorageError` if the disk fails. The call raises
        `WriterOverloadedError` if the queue is full, and `StorageDownError` after `close`.
        """
        reply: asyncio.Future[Outcome] = self._loop.create_future()
        self._put(_Recording(capture, moment, reply))
        return reply

    async def run(self, chore: Callable[[Store], T]) -> T:
        """Run `chore` in the writer's thread, after the queued captures; return its result."""
        reply: asyncio.Future[object] = self._loop.create_future()
        self._put(_Job(chore, reply))
        return await reply  # type: ignore[return-value] # the result is that of this chore

    async def check(self, timeout_seconds: float) -> None:
        """Return if captures can be taken now; raise the `StorageError` if not.

        The check runs in the writer's thread, so it also detects a thread that hangs.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.run(Store.require_room)
        except TimeoutError:
            raise StorageDownError("the disk does not answer in time") from None

    async def pulse(self) -> bool:
        """Return True once the writer's thread responds, in any state of the disk.

        Return False if the queue is full or the thread has ended.
        """
        reply: asyncio.Future[object] = self._loop.create_future()
        try:
            self._put(_Job(_do_nothing, reply))
        except StorageError:
            return False
        with contextlib.suppress(StorageError):
            await reply
        return not self.died.done()

    async def close(self) -> None:
        """Commit and answer everything in the queue, then end the thread. Idempotent."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._queue.put(_Stop())
        await asyncio.to_thread(self._thread.join)

    def _put(self, item: _Recording | _Job) -> None:
        if self._closing or self.died.done():
            raise StorageDownError("the agent is stopping")
        if self._waiting >= self._max_waiting:
            raise WriterOverloadedError("too many captures wait for the disk")
        self._waiting += 1
        self._gathered.append(item)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Queue the items of this event loop iteration: one wake-up for all of them.

        This adds no delay: woken earlier, the thread would only wait for the GIL until the
        iteration is over.
        """
        for item in self._gathered:
            self._queue.put(item)
        self._gathered.clear()

    def _settle(self, answers: Sequence[_Answer]) -> None:
        """Resolve the futures of `answers`, in the event loop's thread."""
        self._waiting -= len(answers)
        for reply, answer in answers:
            if reply.done():  # the request was cancelled; its capture stands
                continue
            if isinstance(answer, BaseException):
                reply.set_exception(answer)
            else:
                reply.set_result(answer)  # type: ignore[arg-type] # answers and futures are paired in the queue

    # From here on: the writer's thread.

    def _run(self) -> None:
        try:
            self._reopen()
            while self._serve_once():
                pass
            self._close_store()
        except BaseException:  # noqa: BLE001 - a bug: every till still gets an answer
            _log.critical("writer.died", exc_info=True)
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """Fail the items that the dead thread held and those in the queue; take no more.

        Runs in the event loop's thread, so no item can be queued between draining and ending.
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
            if isinstance(item, _Job):
                self._answer([(item.reply, self._run_chore(item))])
        self._checkpoint_if_due()
        return not any(isinstance(item, _Stop) for item in items)

    def _take(self) -> list[_Item]:
        """Wait for the next item; return it with everything else in the queue, up to MAX_GROUP."""
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
        """Return an outcome or an exception for each recording."""
        if self._store is None:
            return [self._trouble] * len(recordings)
        started = perf_counter()
        try:
            captures = [(item.capture, item.moment) for item in recordings]
            outcomes = self._store.record(captures, self._let_answers_go)
        except StorageError as trouble:
            self._recover_from(trouble)
            if retry and not isinstance(trouble, StorageFullError):
                return self._record(recordings, retry=False)
            return [trouble] * len(recordings)
        except Exception as error:  # noqa: BLE001 - one bad capture must not fail its group
            if len(recordings) == 1:
                return [error]
            return [self._record([item], retry=retry)[0] for item in recordings]
        self._watch.committed(len(recordings), perf_counter() - started)
        return outcomes

    def _run_chore(self, chore: _Job) -> object:
        """Return the result of the chore, or the exception that it raised."""
        if self._store is None:
            return self._trouble
        try:
            return chore.work(self._store)
        except StorageError as trouble:
            self._recover_from(trouble)
            return trouble
        except Exception as error:  # noqa: BLE001 - raised in the coroutine that waits for the chore
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
            except StorageError as trouble:
                self._recover_from(trouble)

    def _recover_from(self, trouble: StorageError) -> None:
        """Quarantine a damaged file, reopen a failing one; with a full disk only wait."""
        if isinstance(trouble, StorageFullError):
            return
        self._close_store()
        if isinstance(trouble, StorageDamagedError):
            # If the move fails, the next opening finds the damage again and retries.
            with contextlib.suppress(OSError):
                self._opener.set_aside(str(trouble))
        self._reopen()

    def _reopen(self) -> None:
        self._reopen_at = perf_counter() + self._reopen_seconds
        try:
            self._store = self._opener.open()
        except StorageError as trouble:
            if str(trouble) != str(self._trouble):
                log_event(_log, logging.ERROR, "store.not_open", reason=str(trouble))
            self._trouble = trouble

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            # Acknowledged captures are on disk, so an error on close loses nothing.
            with contextlib.suppress(sqlite3.Error, OSError):
                store.close()

    def _let_answers_go(self) -> None:
        """Send the answers of the previous group.

        If the next group is already queued, they are held back until that group is being written, a
        fraction of a millisecond later: the event loop then answers while the disk works, and does
        not compete for the GIL with the work before the write.
        """
        if self._held_answers:
            self._answer(self._held_answers)
            self._held_answers = []

    def _answer(self, answers: Sequence[_Answer]) -> None:
        """Pass all answers to the event loop at once: waking it costs more than they do."""
        self._loop.call_soon_threadsafe(self._settle, answers)

    def _drain(self) -> list[_Item]:
        items: list[_Item] = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        return items

    @staticmethod
    def _stopped() -> StorageDownError:
        return StorageDownError("the writer has stopped on a fault of this program")


def _do_nothing(_: Store) -> None:
    """No-op job: its completion proves that the writer thread is alive."""
