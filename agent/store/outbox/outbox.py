"""The outbox port implemented on the agent's store: pending events and their delivery results.

Reads use short-lived read-only connections, in a thread. Writes go through the writer, in
transactions short enough not to delay a till.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TypeVarTuple

from agent.facts import Receipt
from agent.store.access import StoreAccess
from agent.store.files.storage_errors import (
    StorageDownError,
    StorageFullError,
    StorageMovedError,
)
from agent.store.outbox.dead_letter_log import DeadLetterLog
from agent.store.outbox.dead_letter_queue import DeadLetters
from agent.store.outbox.in_flight import add_doubt, end_attempt, record_attempt
from agent.store.outbox.rewind import renumber, rewind
from agent.store.outbox.settle import settle
from agent.store.outbox.unsaved_results import UnsavedResults
from agent.store.outbox.window_sql import PENDING, RETRIES
from agent.store.outbox.windows import WindowReader
from agent.store.retention.retention import Retention, RetentionDays, RetentionNow
from agent.store.writer import Writer
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window
from sync.delivery.outcomes import Verdict
from sync.protocol.wire import RENUMBERED
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
MAX_RESULTS_IN_A_TRANSACTION = 500
_SAVE_AGAIN_SECONDS = 1.0
_NOTHING_WRITTEN = (StorageFullError, StorageDownError, StorageMovedError)
# Not by the index: SQLite does not notice that a page of it is another one.
KNOWS_EPOCH = "SELECT 1 FROM epoch NOT INDEXED WHERE epoch = ?"
Arguments = TypeVarTuple("Arguments")


class StoreOutbox:
    """The events of this machine that central does not have yet: `sync.delivery.outbox.Outbox`.

    Event loop only. Every method raises `OutboxUnavailable` if the storage fails. `on_new_epoch` is
    called after head office has caused a new epoch.
    """

    def __init__(
        self,
        writer: Writer,
        directory: Path,
        key_file: Path,
        days: RetentionDays,
        *,
        now_us: Callable[[], int],
        agent_version: str,
        retention_clock: RetentionNow,
    ) -> None:
        self.access = StoreAccess(directory, writer)
        self._windows = WindowReader(key_file, directory)
        self.on_new_epoch: Callable[[], None] = lambda: None
        self._now_us = now_us
        self._agent_version = agent_version
        self._unsaved = UnsavedResults()
        self._saving = asyncio.Lock()
        self._save_at = 0.0
        self._why_unsaved: BaseException | None = None
        # With `replay`: after a crash a repeat may have an effect.
        self._records_attempts = False
        self._refusals = DeadLetterLog()
        self.dead_letters = DeadLetters(self.access, now_us, agent_version)
        self.retention = Retention(self.access, days, now_us, retention_clock)

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest unsettled events of one epoch above `after`."""
        return await self._next(PENDING, limits, after)

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the dead letters to retry, of one epoch, above `after`."""
        return await self._next(RETRIES, limits, after)

    async def record_attempt(self, window: Window) -> None:
        """Record durably, before anything is sent, that `window` is in flight."""
        self._records_attempts = True
        positions = [event.position for event in window.events]
        await self._write(window, record_attempt, positions)

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Record durably the results of a window, and its `doubtful` events: possibly delivered.

        If nothing can be written now, they stay in memory, unless a repeat could have an effect.
        """
        try:
            await self.save_results()
            await self._settle(window, results, doubtful)
        except OutboxUnavailable as error:
            verdicts = {one.event.position: one.verdict for one in results}
            if not isinstance(error.__cause__, _NOTHING_WRITTEN) or self._records_attempts:
                raise
            is_first = not self._unsaved
            if not self._unsaved.add(window.epoch, verdicts):
                raise
            if is_first:
                log_event(_log, logging.WARNING, "outbox.results_in_memory", reason=str(error))
        self._refusals.note(window, results)

    def close(self) -> None:
        """Log the counts since the last line. Idempotent."""
        self._refusals.close()

    async def save_results(self) -> None:
        """Write the results that are in memory; at most one attempt a second fails."""
        loop = asyncio.get_running_loop()
        async with self._saving:
            if not self._unsaved:
                return
            if loop.time() < self._save_at:
                raise OutboxUnavailable(str(self._why_unsaved)) from self._why_unsaved
            try:
                await self._save_results()
            except OutboxUnavailable as error:
                self._save_at = loop.time() + _SAVE_AGAIN_SECONDS
                # Without its traceback, which keeps cursors and their locks.
                cause = error.__cause__
                self._why_unsaved = cause and type(cause)(str(cause))
                raise

    async def _save_results(self) -> None:
        epochs = list(self._unsaved.epochs)
        while verdicts := self._unsaved.lowest(MAX_RESULTS_IN_A_TRANSACTION):
            at_us, version = self._now_us(), self._agent_version
            if await self.access.write_hot(_save, epochs, verdicts, at_us, version):
                self._unsaved.remove_lowest(verdicts)
            else:
                self._unsaved.clear()
        self._unsaved.clear()
        log_event(_log, logging.INFO, "outbox.results_saved")

    async def _settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent]
    ) -> None:
        at_us, version, rest = self._now_us(), self._agent_version, list(results)
        in_doubt = [event.position for event in doubtful]
        while len(rest) > MAX_RESULTS_IN_A_TRANSACTION:
            part, rest = rest[:MAX_RESULTS_IN_A_TRANSACTION], rest[MAX_RESULTS_IN_A_TRANSACTION:]
            await self._write(window, _settle, part, at_us, version, in_doubt, None)
        resolved = [one.event.position for one in results]
        resolved += [event.position for event in window.events if not event.is_doubtful]
        await self._write(window, _settle, rest, at_us, version, in_doubt, resolved)

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Make all events from `expected_sequence` on, or from the lowest held, pending again.

        Returns whether any event became pending.
        """
        are_forgotten = await self._save_or_forget()
        try:
            now_us, version = self._now_us(), self._agent_version
            write = self.access.write(rewind, epoch, expected_sequence, now_us, version)
            return await write or are_forgotten
        except OutboxUnavailable:
            if are_forgotten:
                return True
            raise

    async def renumber(self, epoch: str, after_sequence: int, reason: str = RENUMBERED) -> bool:
        """Begin a new epoch with the events that follow `after_sequence` of `epoch`.

        Returns False if head office has caused too many of late: nothing is changed then.

        The moved events become pending again: central has nothing of a new epoch. Later epochs keep
        their numbers: if `epoch` is not the current one, only its own end moves.
        """
        await self._save_or_forget()
        receipt = Receipt(epoch, max(after_sequence, 0))
        is_done = await self.access.run(renumber, receipt, reason, self._now_us())
        if is_done:
            self.on_new_epoch()
        return is_done

    async def _next(self, sql: str, limits: BatchLimits, after: int) -> Window:
        """Return the next window, without events that have a result in memory."""
        now_us = self._now_us()
        window = await self.access.read_hot(self._windows.read, sql, limits, after, now_us)
        while window.events and (end := self._unsaved.end_of_range(window.events[0].position)):
            window = await self.access.read_hot(self._windows.read, sql, limits, end, now_us)
        if not self._unsaved:
            return window
        open_ones = takewhile(
            lambda event: self._unsaved.end_of_range(event.position) is None, window.events
        )
        return replace(window, events=tuple(open_ones))

    async def _save_or_forget(self) -> bool:
        """Write the results in memory, or forget them; return whether they are forgotten.

        Forgotten events are sent again.
        """
        try:
            await self.save_results()
        except OutboxUnavailable:
            self._unsaved.clear()
            return True
        return False

    async def _write(
        self,
        window: Window,
        job: Callable[[sqlite3.Connection, *Arguments], None],
        *arguments: *Arguments,
    ) -> None:
        """Run `job`, unless the database that `window` was read from has been replaced.

        In the new database the positions of the window belong to other events.
        """

        def write(connection: sqlite3.Connection) -> None:
            if not connection.execute(KNOWS_EPOCH, (window.epoch,)).fetchone():
                raise OutboxUnavailable("the database was replaced while a window was in flight")
            job(connection, *arguments)

        await self.access.write_hot(write)


def _settle(
    connection: sqlite3.Connection,
    results: Sequence[EventResult],
    at_us: int,
    agent_version: str,
    doubtful: Iterable[int],
    resolved: Iterable[int] | None,
) -> None:
    """Record `results`; end the attempt with the last part of a window, that with `resolved`."""
    verdicts = {one.event.position: one.verdict for one in results}
    settle(connection, verdicts, at_us, agent_version)
    if resolved is None:
        # A rejected event is no longer pending, so the in-flight range does not cover it: its doubt
        # is recorded with it.
        add_doubt(connection, {one.event.position for one in results}.intersection(doubtful))
    else:
        end_attempt(connection, resolved, doubtful)


def _save(
    connection: sqlite3.Connection,
    epochs: Sequence[str],
    verdicts: Mapping[int, Verdict],
    at_us: int,
    agent_version: str,
) -> bool:
    """Record verdicts that were in memory; return False if the database was replaced since."""
    if not all(connection.execute(KNOWS_EPOCH, (epoch,)).fetchone() for epoch in epochs):
        return False
    settle(connection, verdicts, at_us, agent_version)
    end_attempt(connection, verdicts, ())
    return True
