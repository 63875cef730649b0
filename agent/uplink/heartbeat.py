"""Heartbeat loop of protocol `batch`: reports state, acts on the answer, fetches program terms.

A heartbeat is sent every `HEARTBEAT_SECONDS`, with or without captures.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, assert_never

from agent.store.outbox.outbox import StoreOutbox
from agent.store.queries.epoch_progress import EpochProgress
from agent.store.queries.reader import StoreReader
from agent.store.queries.status import StorageStatus
from agent.uplink.divergence import Divergence
from agent.uplink.heartbeat_message import heartbeat_of, older_epochs
from agent.uplink.heartbeat_tries import HeartbeatTries
from agent.uplink.loss_reports import LossReports, Page
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.outbox import OutboxUnavailable
from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.batch.control_requests import fetch_terms, send_heartbeat
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.protocol.wire import Heartbeat, HeartbeatAnswer
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 60
# Of a stop, at most: the whole stop must take less than 5 s, also if the line is dead.
LAST_WORD_SECONDS = 1.0
# Fetch the terms at every tenth heartbeat; at every one until a request succeeds.
_HEARTBEATS_PER_FETCH = 10


class HeartbeatLoop:
    """Sends heartbeats and acts on the answers. Not thread-safe; event loop only.

    `on_requeued` is called after events were returned to the outbox. `on_result` is called with
    None when head office has accepted a heartbeat, and with `Blocked` when it rejects this agent.
    """

    def __init__(  # noqa: PLR0913 - all that an answer can act on
        self,
        client: CentralClient,
        sender: Sender,
        reader: StoreReader,
        outbox: StoreOutbox,
        terms: ProgramTermsSync,
        *,
        on_requeued: Callable[[], None],
        on_result: Callable[[Blocked | None], None],
        shared_name: SharedName,
    ) -> None:
        self._client = client
        self._sender = sender
        self._reader = reader
        self._outbox = outbox
        self._terms = terms
        self._on_result = on_result
        self._shared_name = shared_name
        self._due = asyncio.Event()
        self._tries = HeartbeatTries()
        self._until_terms = self._turn = 0
        self._divergence = Divergence(outbox, reader, on_requeued)
        self._losses = LossReports(outbox.access, lambda: sender.clock().wall_us)

    async def trigger(self) -> None:
        """Request a heartbeat; a heartbeat in progress completes first."""
        self._due.set()

    def on_new_epoch(self) -> None:
        """Tell head office at once how the epoch before ended: until then it is unconfirmed."""
        self._due.set()

    def end_hold(self) -> None:
        """Send heartbeats again before the time that head office named: it accepts batches."""
        self._tries.end_hold()

    async def hear(self, opening: int) -> None:
        """Wait until head office has answered a heartbeat since this opening of the store.

        If the store was opened since the last answer, send one heartbeat; return also if it fails.
        """
        if not self._tries.has_answer(opening):
            self._due.set()
            await self._tries.ended(opening)

    async def run(self) -> NoReturn:
        """Send a heartbeat now and each time one is due, until cancelled."""
        self._due.set()
        while True:
            await self._due.wait()
            self._due.clear()
            await self.heartbeat_once()

    async def heartbeat_once(self) -> None:
        """Send a heartbeat and fetch due terms; log an error, the next heartbeat retries."""
        try:
            with self._tries.one(self._outbox.access.opening):
                if self._tries.are_held:
                    return
                is_answered = await self._exchange()
            await self._fetch_terms(is_online=is_answered)
        except (sqlite3.Error, OSError, OutboxUnavailable) as error:
            # Storage errors are transient here: the next heartbeat reads the store again.
            log_event(_log, logging.WARNING, "heartbeat.skipped", reason=type(error).__name__)
        except Exception:  # noqa: BLE001 - see below
            # A bug here must not end the heartbeats, nor the delivery in the same task group.
            _log.exception("heartbeat.failed")

    async def send_last_word(self) -> bool:
        """Tell head office that this agent stops in order; return whether it heard that.

        Call it when nothing else is sent any more. An answer is not acted on: the next start asks
        again before its first batch.
        """
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                _, heartbeat = await self._message(closed=True)
                is_heard = isinstance(
                    await send_heartbeat(self._client, heartbeat), HeartbeatAnswer
                )
        except (TimeoutError, sqlite3.Error, OSError, OutboxUnavailable):
            is_heard = False
        if not is_heard:
            log_event(_log, logging.INFO, "heartbeat.last_word_not_heard")
        return is_heard

    async def _message(self, *, closed: bool = False) -> tuple[StorageStatus, Heartbeat]:
        """Return the state of the store, and the heartbeat that reports it."""
        status, older, pages = await self._outbox.access.read_hot(self._read_state)
        heartbeat = heartbeat_of(
            status,
            await self._losses.extents(older, status.lost, pages),
            self._sender,
            self._divergence.rejected_after,
            self._terms.problem,
            closed=closed,
        )
        self._turn += 1
        return status, heartbeat

    def _read_state(
        self, connection: sqlite3.Connection
    ) -> tuple[StorageStatus, Sequence[EpochProgress], Mapping[str, Page]]:
        """Return the state of the store, and the older epochs to report with their pages.

        In one snapshot: a number that has returned must not be reported before the new number of
        its capture.
        """
        status = self._reader.status_on(connection)
        older = older_epochs(status.epochs[:-1], self._turn)
        return status, older, self._losses.read_pages(connection, older)

    async def _exchange(self) -> bool:
        """Send a heartbeat and act on the answer; return whether head office accepted it."""
        status, heartbeat = await self._message()
        answer = await send_heartbeat(self._client, heartbeat)
        match answer:
            case HeartbeatAnswer():
                answered_us = self._sender.clock().monotonic_us
                self._sender.round_trip.note(heartbeat.sent_monotonic_us, answered_us)
                self._on_result(None)
                await self._divergence.repair(answer, status)
                if await self._losses.on_answer(answer, heartbeat.epochs, status.lost):
                    await self.trigger()
                await self._shared_name.on_answer(is_shared=answer.shared_name)
                self._tries.note_answer()
                return True
            case Blocked():
                self._on_result(answer)
            case RetryLater(retry_after_seconds=seconds):
                self._tries.hold(seconds)
            case None:
                pass
            case _:
                assert_never(answer)
        return False

    async def _fetch_terms(self, *, is_online: bool) -> None:
        """Fetch due terms. If no heartbeat is answered either, a failure says nothing of them."""
        if self._until_terms > 0:
            self._until_terms -= 1
            return
        found = await fetch_terms(self._client, self._terms.known_etag)
        is_failed = isinstance(found, Blocked | RetryLater)
        if is_online or not is_failed:
            await self._terms.on_fetched(found)
        if not is_failed:
            self._until_terms = _HEARTBEATS_PER_FETCH - 1
