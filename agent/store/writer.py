"""The single writer thread: group commit, one transaction and one fsync for all queued captures.

Flow: event loop > queue > [group: decide, write, COMMIT, fsync] > event loop > answers.

There is no delay to collect a group: while one group is synced, the next one collects in the queue,
and a single capture is committed at once. An answer leaves the thread only after COMMIT has
returned, and COMMIT returns after the WAL is synced (`db/connect.py`).

The thread also opens the store, and reopens it after each failure: the agent starts and answers
with a full or missing disk, and takes captures as soon as it can.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from agent.facts import Capture, Outcome, Timestamp
from agent.store.files.storage_errors import StorageDownError, StorageError
from agent.store.open import StoreOpener
from agent.store.recorder import Recorder
from agent.store.reopening import REOPEN_SECONDS, ReopeningStore
from agent.store.store import Store

_log = logging.getLogger(__name__)
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

MAX_GROUP = 512
MAX_QUEUED = 10_000


class WriterOverloadedError(StorageError):
    """The queue is full; retry in a moment."""


@dataclass(slots=True)
class _PendingCapture:
    capture: Capture
    captured_at: Timestamp
    reply: asyncio.Future[Outcome]


@dataclass(slots=True)
class _Job:
    work: Callable[[Store], object]
    reply: asyncio.Future[object]


# None ends the queue.
_Item = _PendingCapture | _Job | None
_Answer = tuple["asyncio.Future[Outcome] | asyncio.Future[object]", object]


class Writer:
    """Runs captures and jobs in its thread, from `start` to `close`.

    `on_commit` gets the captures and seconds of each commit, in that thread.
    Not thread-safe; event loop only.
    """

    def __init__(
        self,
        opener: StoreOpener,
        on_commit: Callable[[int, float], None],
        *,
        reopen_seconds: float = REOPEN_SECONDS,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._max_queued = max_queued
        # Items of this event loop iteration, not yet in the queue; `_queued` counts them, too.
        self._gathered: list[_Item] = []
        self._queued = 0
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._closing = False
        # Used by the writer's thread only:
        self._store = ReopeningStore(opener, reopen_seconds)
        self._recorder = Recorder(self._store, on_commit, self._send_held_answers)
        self._in_progress: list[_Item] = []
        self._held_answers: list[_Answer] = []

    def start(self) -> None:
        """Start the thread; it opens the store and serves the queue."""
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[None] = self._loop.create_future()
        self._thread.start()

    @property
    def queued(self) -> int:
        """The number of captures and jobs without an answer yet."""
        return self._queued

    @property
    def opening(self) -> int | None:
        """The number of the store's present opening; None while it is closed."""
        return self._store.opening

    def record(self, capture: Capture, captured_at: Timestamp) -> "asyncio.Future[Outcome]":
        """Queue a capture; the future returns its outcome once it is on disk.

        The future raises a `StorageError` if the disk fails. The call raises
        `WriterOverloadedError` if the queue is full, and `StorageDownError` after `close`.
        """
        reply: asyncio.Future[Outcome] = self._loop.create_future()
        self._put(_PendingCapture(capture, captured_at, reply))
        return reply

    async def run(self, job: Callable[[Store, *Arguments], T], *arguments: *Arguments) -> T:
        """Run `job` in the writer's thread, after the queued captures; return its result."""
        reply: asyncio.Future[object] = self._loop.create_future()
        self._put(_Job(lambda store: job(store, *arguments), reply))
        return await reply  # type: ignore[return-value] # the result is that of this job

    async def check(self, timeout_seconds: float) -> None:
        """Return if captures can be taken now; raise the `StorageError` if not.

        The check runs in the writer's thread, so it also detects a thread that hangs.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.run(Store.require_writable)
        except TimeoutError:
            raise StorageDownError("the disk did not respond in time") from None

    async def ping(self) -> bool:
        """Return True once the writer's thread responds, in any state of the disk.

        Return False if the queue is full or the thread has ended.
        """
        reply: asyncio.Future[object] = self._loop.create_future()
        try:
            # No-op job: its completion proves that the writer thread is alive.
            self._put(_Job(lambda _store: None, reply))
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
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _put(self, item: _PendingCapture | _Job) -> None:
        if self._closing or self.died.done():
            raise StorageDownError("the agent is stopping")
        if self._queued >= self._max_queued:
            raise WriterOverloadedError("too many captures are queued for the disk")
        self._queued += 1
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

    def _resolve(self, answers: Sequence[_Answer]) -> None:
        """Resolve the futures of `answers`, in the event loop's thread."""
        self._queued -= len(answers)
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
            self._store.open()
            while self._serve_once():
                pass
            self._store.shut_down()
        except BaseException:  # noqa: BLE001 - a bug: every till still gets an answer
            _log.critical("writer.died", exc_info=True)
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """Fail the items that the dead thread held and those in the queue; take no more.

        Runs in the event loop's thread, so no item can be queued between draining and ending.
        """
        self.died.set_result(None)
        self._hand_over()
        self._resolve(self._held_answers)
        items = self._in_progress
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        error = StorageDownError("the writer thread died of a bug in this program")
        replies = [item.reply for item in items if item is not None]
        self._resolve([(reply, error) for reply in replies if not reply.done()])

    def _serve_once(self) -> bool:
        """Serve one group; return False if it was the last one."""
        items = self._take()
        captures = [item for item in items if isinstance(item, _PendingCapture)]
        if captures:
            group = [(item.capture, item.captured_at) for item in captures]
            outcomes = self._recorder.record(group)
            self._send_held_answers()
            replies = [item.reply for item in captures]
            self._held_answers = list(zip(replies, outcomes, strict=True))
        if self._queue.empty() or len(captures) < len(items):
            self._send_held_answers()
        for item in items:
            if isinstance(item, _Job):
                self._send([(item.reply, self._recorder.run(item.work))])
        self._recorder.checkpoint_if_due(is_idle=self._queue.empty())
        return None not in items

    def _take(self) -> list[_Item]:
        """Wait for the next item; return it with everything else in the queue, up to MAX_GROUP."""
        try:
            items = [self._queue.get(timeout=self._store.seconds_to_reopen)]
        except queue.Empty:
            items = []
        self._in_progress = items
        self._store.reopen_if_due()
        with contextlib.suppress(queue.Empty):
            while len(items) < MAX_GROUP:
                items.append(self._queue.get_nowait())
        return items

    def _send_held_answers(self) -> None:
        """Send the answers of the previous group.

        If the next group is already queued, they are held back until that group is being written, a
        fraction of a millisecond later: the event loop then answers while the disk works, and does
        not compete for the GIL with the work before the write.
        """
        if self._held_answers:
            self._send(self._held_answers)
            self._held_answers = []

    def _send(self, answers: Sequence[_Answer]) -> None:
        """Pass all answers to the event loop at once: waking it costs more than they do."""
        self._loop.call_soon_threadsafe(self._resolve, answers)
