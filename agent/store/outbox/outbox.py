"""The outbox port implemented on the agent's store: pending events and their delivery results.

Reads use short-lived read-only connections, in a thread. Writes go through the writer, in
transactions short enough not to delay a till.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVarTuple

from agent.facts import Receipt
from agent.store.access import StoreAccess
from agent.store.outbox.dead_letter_queue import DeadLetters
from agent.store.outbox.in_flight import add_doubt, end_attempt, record_attempt
from agent.store.outbox.rewind import renumber, rewind
from agent.store.outbox.settle import settle
from agent.store.outbox.windows import PENDING, RETRIES, WindowReader
from agent.store.retention.retention import Retention, RetentionDays, RetentionNow
from agent.store.writer import Writer
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window

MAX_RESULTS_IN_A_TRANSACTION = 500
KNOWS_EPOCH = "SELECT 1 FROM epoch WHERE epoch = ?"
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
        retention_clock: RetentionNow | None = None,
    ) -> None:
        self.access = StoreAccess(directory, writer)
        self._windows = WindowReader(key_file)
        self.on_new_epoch: Callable[[], None] = lambda: None
        self._now_us = now_us
        self._agent_version = agent_version
        self.dead_letters = DeadLetters(self.access, now_us, agent_version)
        self.retention = Retention(self.access, days, now_us, retention_clock)

    async def next_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest unsettled events of one epoch above `after`."""
        return await self.access.read_hot(self._windows.read, PENDING, limits, after)

    async def next_retry_window(self, limits: BatchLimits, *, after: int = 0) -> Window:
        """Return the dead letters to retry, of one epoch, above `after`."""
        return await self.access.read_hot(self._windows.read, RETRIES, limits, after)

    async def record_attempt(self, window: Window) -> None:
        """Record durably, before anything is sent, that `window` is in flight."""
        positions = [event.position for event in window.events]
        await self._write(window, record_attempt, positions)

    async def settle(
        self, window: Window, results: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Record durably the results of a window, and its `doubtful` events: possibly delivered."""
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

        Returns True if any event became pending.
        """
        return await self.access.write(rewind, epoch, expected_sequence)

    async def renumber(self, epoch: str, after_sequence: int) -> bool:
        """Begin a new epoch with the events that follow `after_sequence` of `epoch`.

        Returns False if head office has caused too many of late: nothing is changed then.

        The moved events become pending again: central has nothing of a new epoch. Later epochs keep
        their numbers: if `epoch` is not the current one, only its own end moves.
        """
        receipt = Receipt(epoch, max(after_sequence, 0))
        is_done = await self.access.run(renumber, receipt, self._now_us())
        if is_done:
            self.on_new_epoch()
        return is_done

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
    settle(connection, results, at_us, agent_version)
    if resolved is None:
        # A rejected event is no longer pending, so the in-flight range does not cover it: its doubt
        # is recorded with it.
        add_doubt(connection, {one.event.position for one in results}.intersection(doubtful))
    else:
        end_attempt(connection, resolved, doubtful)
