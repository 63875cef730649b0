"""The outbox port implemented on the agent's store: pending events and their delivery results.

Reads use short-lived read-only connections, in a thread. Writes go through the writer, in
transactions short enough not to delay a till.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.facts import Receipt
from agent.store.access import StoreAccess
from agent.store.db.epochs import knows_epoch
from agent.store.outbox.dead_letter_queue import DeadLetters
from agent.store.outbox.in_flight import add_doubt, end_attempt, record_attempt
from agent.store.outbox.payloads import Readdressing
from agent.store.outbox.rewind import rewind, rewind_to
from agent.store.outbox.settle import Judgement, settle
from agent.store.outbox.windows import WindowReader
from agent.store.retention.clock_repair import mend_times, needs_mending
from agent.store.retention.erase import erase_apart, erase_slice, find_apart
from agent.store.retention.purge import find_old, purge
from agent.store.writer import Writer
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, OutboxUnavailable, Window

MOST_IN_A_TRANSACTION = 500
_DAY_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Retention:
    """Days to keep captures, and (`email_days`) addresses, after delivery."""

    delivered_days: float
    email_days: float


class StoreOutbox:
    """The events of this machine that central does not have yet: `sync.delivery.outbox.Outbox`.

    Event loop only. Every method raises `OutboxUnavailable` if the storage fails.
    """

    def __init__(
        self,
        writer: Writer,
        directory: Path,
        key_file: Path,
        retention: Retention,
        *,
        now_us: Callable[[], int],
        agent_version: str,
    ) -> None:
        self.storage = StoreAccess(directory, writer)
        self._windows = WindowReader(Readdressing(key_file))
        self._retention = retention
        self._now_us = now_us
        self._agent_version = agent_version
        self.dead_letters = DeadLetters(self.storage, now_us, agent_version)

    async def next_window(self, portion: BatchLimits, *, after: int = 0) -> Window:
        """Return the lowest unsettled events of one epoch above `after`."""
        return await self.storage.ask(lambda c: self._windows.waiting(c, portion, after))

    async def next_retry_window(self, portion: BatchLimits, *, after: int = 0) -> Window:
        """Return the dead letters to retry, of one epoch, above `after`."""
        return await self.storage.ask(lambda c: self._windows.to_retry(c, portion, after))

    async def record_attempt(self, window: Window) -> None:
        """Record durably, before anything is sent, that `window` is in flight."""
        positions = [event.position for event in window.events]
        await self._change_in(window, lambda c: record_attempt(c, positions))

    async def settle(
        self, window: Window, judged: Sequence[EventResult], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Record durably the results of a window, and its `doubtful` events: possibly delivered."""
        judgement = Judgement(self._now_us(), self._agent_version)
        rest, in_doubt = list(judged), [event.position for event in doubtful]
        while len(rest) > MOST_IN_A_TRANSACTION:
            some, rest = rest[:MOST_IN_A_TRANSACTION], rest[MOST_IN_A_TRANSACTION:]
            # A rejected event is no longer pending, so the in-flight range does not cover it: its
            # doubt is recorded with it.
            part = partial(_settle_part, judged=some, judgement=judgement, doubtful=in_doubt)
            await self._change_in(window, part)
        sure = [one.event.position for one in judged]
        sure += [event.position for event in window.events if not event.is_doubtful]
        await self._change_in(window, lambda c: _settle_and_end(c, rest, judgement, sure, in_doubt))

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Make all events from `expected_sequence` on, or from the lowest held, pending again.

        Returns True if any event became pending.
        """
        return await self.storage.change(lambda c: rewind(c, epoch, expected_sequence))

    async def renumber(self, epoch: str, after_sequence: int) -> None:
        """Begin a new epoch with the events that follow `after_sequence` of `epoch`.

        The moved events become pending again: central has nothing of a new epoch. Later epochs keep
        their numbers: if `epoch` is not the current one, only its own end moves.
        """
        receipt = Receipt(epoch, max(after_sequence, 0))
        await self.storage.run(lambda store: store.renumber(receipt, rewind_to))

    async def erase_once(self) -> bool:
        """Erase some addresses past their retention; return True if more remain."""
        kept_us = round(self._retention.email_days * _DAY_US)
        cutoff_us = self._now_us() - kept_us if kept_us else None
        if await self.storage.change(lambda c: erase_slice(c, cutoff_us)):
            return True
        apart = await self.storage.ask(lambda c: find_apart(c, cutoff_us))
        return bool(apart) and await self.storage.change(lambda c: erase_apart(c, apart))

    async def purge_once(self) -> bool:
        """Delete some events past their retention; return True if more may remain."""
        cutoff_us = self._now_us() - round(self._retention.delivered_days * _DAY_US)
        old = await self.storage.ask(lambda c: find_old(c, cutoff_us))
        if not old.events and not old.deliveries:
            return False
        return await self.storage.change(lambda c: purge(c, old, cutoff_us), touches_captures=True)

    async def mend_times(self) -> None:
        """Replace impossible delivery times by now, so that retention counts from now on."""
        now_us = self._now_us()
        if await self.storage.ask(lambda c: needs_mending(c, now_us)):
            await self.storage.change(lambda c: mend_times(c, now_us))

    async def retry_due(self) -> int:
        """Mark dead letters for retry after an upgrade and once a day. Returns how many."""
        return await self.dead_letters.retry_due()

    async def _change_in(
        self, window: Window, chore: Callable[[sqlite3.Connection], object]
    ) -> None:
        """Run `chore`, unless the database that `window` was read from has been replaced.

        In the new database the positions of the window belong to other events.
        """

        def change(connection: sqlite3.Connection) -> None:
            if not knows_epoch(connection, window.epoch):
                raise OutboxUnavailable("the database was replaced while a window was under way")
            chore(connection)

        await self.storage.change(change)


def _settle_part(
    connection: sqlite3.Connection,
    judged: Sequence[EventResult],
    judgement: Judgement,
    doubtful: Sequence[int],
) -> None:
    settle(connection, judged, judgement)
    add_doubt(connection, {one.event.position for one in judged}.intersection(doubtful))


def _settle_and_end(
    connection: sqlite3.Connection,
    judged: Sequence[EventResult],
    judgement: Judgement,
    sure: Sequence[int],
    doubtful: Sequence[int],
) -> None:
    settle(connection, judged, judgement)
    end_attempt(connection, sure, doubtful)
