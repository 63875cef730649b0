"""Delivery to central, composed: delivery loop, heartbeats, program terms and scheduled jobs."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, wait_fixed

from agent.config import Settings
from agent.config.central import Protocol
from agent.facts import Timestamp
from agent.store.outbox.outbox import StoreOutbox
from agent.store.queries.reader import StoreReader
from agent.store.recovery.salvage import POLL_SECONDS, Salvage
from agent.uplink import central_connection, scheduled_jobs
from agent.uplink.heartbeat import HEARTBEAT_SECONDS, HeartbeatLoop
from agent.uplink.outbox_after_heartbeat import OutboxAfterHeartbeat
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.backoff import Backoff, machine_slot
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.delivery_status import DeliveryStatus, LoopState
from sync.delivery.outbox import OutboxUnavailable
from sync.delivery.throttle import Throttle, quiet_hours
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient
from sync.runtime.identity import installed_version
from sync.runtime.logging import log_event
from sync.runtime.scheduler import Scheduler

_log = logging.getLogger(__name__)
_HOUR_SECONDS = 3_600
_RESTART_SECONDS = 5.0
_EVENTS = {
    LoopState.IDLE: "delivery.idle",
    LoopState.DELIVERING: "delivery.delivering",
    LoopState.QUIET: "delivery.quiet_hours",
    LoopState.RETRYING: "delivery.retrying",
    LoopState.HOLDING: "delivery.holding",
}


@dataclass(frozen=True, slots=True)
class UplinkDependencies:
    """Dependencies of delivery on the rest of the agent.

    `is_closing`, asked at the stop: it is in order, and no restart.
    """

    settings: Settings
    outbox: StoreOutbox
    salvage: Salvage
    terms: ProgramTermsSync
    shared_name: SharedName
    schedule: Scheduler
    now: Callable[[], Timestamp]
    boot_id: str
    is_closing: Callable[[], Awaitable[bool]]


@asynccontextmanager
async def running_uplink(agent: UplinkDependencies) -> AsyncIterator[DeliveryLoop | None]:
    """Deliver until the block exits; yield None if central is not configured.

    Requests in flight at the exit are cancelled; their events are sent again at the next start. At
    an exit in order head office is told that this machine is closed.
    Erasure and purge of delivered events run even if central is not configured (any more).
    """
    sync, outbox, every = agent.settings.sync, agent.outbox, agent.schedule.every
    every(sync.interval_seconds, partial(scheduled_jobs.erase_addresses, outbox))
    every(_HOUR_SECONDS, partial(scheduled_jobs.purge, outbox))
    every(scheduled_jobs.MAINTENANCE_SECONDS, partial(scheduled_jobs.save_results, outbox))
    every(scheduled_jobs.MAINTENANCE_SECONDS, partial(scheduled_jobs.make_room, outbox))
    every(scheduled_jobs.SCRUB_SECONDS, partial(scheduled_jobs.scrub, outbox))
    if not agent.settings.central.url:
        async with _running_salvage(agent, lambda: None):
            yield None
        return
    http = HttpClient(central_connection.http_options(agent.settings))
    delivery, heartbeat = _loops(agent, http)
    every(sync.interval_seconds, partial(scheduled_jobs.wake, delivery))
    every(_HOUR_SECONDS, partial(scheduled_jobs.set_aside_stuck, outbox, sync.stuck_after_days))
    every(_HOUR_SECONDS, partial(scheduled_jobs.retry_dead_letters, outbox, delivery))
    # Each store has its own second of the minute, so that heartbeats do not arrive all at once.
    offset_seconds = HEARTBEAT_SECONDS * _slot(agent.settings)
    every(HEARTBEAT_SECONDS, heartbeat.trigger, first_after_seconds=offset_seconds)
    running = asyncio.ensure_future(_run(agent, delivery, heartbeat))
    # Not after an error: an agent that cannot serve, as its port is taken, is not closed.
    ends_in_order = False
    try:
        async with _running_salvage(agent, partial(_on_salvaged, delivery, heartbeat)):
            yield delivery
            ends_in_order = agent.settings.central.protocol is Protocol.BATCH
    finally:
        running.cancel()
        await asyncio.wait([running])
        outbox.close()
        if ends_in_order and await agent.is_closing():
            await heartbeat.send_last_word()
        await http.close()


def _on_salvaged(delivery: DeliveryLoop, heartbeat: HeartbeatLoop) -> None:
    """Deliver the captures that were fed in, and report the rest to head office."""
    delivery.wake()
    heartbeat.on_new_epoch()


@asynccontextmanager
async def _running_salvage(
    agent: UplinkDependencies, on_salvaged: Callable[[], None]
) -> AsyncIterator[None]:
    """Salvage quarantined databases until the block exits; call `on_salvaged` after each."""
    running = asyncio.ensure_future(agent.salvage.run(on_salvaged))
    agent.schedule.every(POLL_SECONDS, agent.salvage.trigger, first_after_seconds=0)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def _run(agent: UplinkDependencies, delivery: DeliveryLoop, heartbeat: HeartbeatLoop) -> None:
    """Deliver until cancelled; log an unexpected exception and start again."""
    restarting = AsyncRetrying(wait=wait_fixed(_RESTART_SECONDS), before_sleep=_log_failure)
    await restarting(_restore_and_run, agent, delivery, heartbeat)


async def _restore_and_run(
    agent: UplinkDependencies, delivery: DeliveryLoop, heartbeat: HeartbeatLoop
) -> None:
    """Restore the learned terms once the storage opens, queue due retries, then run the loops."""
    await agent.terms.restore_when_open()
    with contextlib.suppress(OutboxUnavailable):
        await agent.outbox.dead_letters.retry_due()
        await agent.outbox.dead_letters.retry_key_lost()
    async with asyncio.TaskGroup() as group:
        group.create_task(delivery.run())
        if agent.settings.central.protocol is Protocol.BATCH:
            group.create_task(heartbeat.run())


def _loops(agent: UplinkDependencies, http: HttpClient) -> tuple[DeliveryLoop, HeartbeatLoop]:
    settings, sync, outbox = agent.settings, agent.settings.sync, agent.outbox
    credentials = central_connection.credentials(settings, http)
    client = CentralClient(http, settings.central.url, credentials, central_connection.utc_now)
    store = settings.store
    sender = Sender(store.store_id, store.till_id, agent.boot_id, installed_version(), agent.now)
    slot = _slot(settings)
    backoff = Backoff(sync.backoff_base_seconds, sync.backoff_cap_seconds, slot, random.random)

    async def hear(opening: int) -> None:
        await heartbeat.hear(opening)

    def on_accepted() -> None:
        heartbeat.end_hold()

    is_batch = settings.central.protocol is Protocol.BATCH
    delivery = DeliveryLoop(
        OutboxAfterHeartbeat(outbox, hear, on_accepted) if is_batch else outbox,
        central_connection.transport(settings, client, sender, agent.terms),
        Throttle(sync.bandwidth_bytes_per_second),
        backoff,
        after_pass=lambda: scheduled_jobs.until_done(outbox.retention.erase_once),
        on_state_change=_log_state,
        is_quiet=quiet_hours(sync.quiet_hours, lambda: datetime.now().astimezone()),
    )
    heartbeat = HeartbeatLoop(
        client,
        sender,
        StoreReader(settings.storage.directory),
        outbox,
        agent.terms,
        on_requeued=delivery.wake,
        on_result=delivery.on_heartbeat_result,
        shared_name=agent.shared_name,
    )
    outbox.on_new_epoch = heartbeat.on_new_epoch
    return delivery, heartbeat


def _slot(settings: Settings) -> float:
    return machine_slot(settings.store.store_id, settings.store.till_id)


def _log_failure(state: RetryCallState) -> None:
    _log.error("delivery.failed", exc_info=state.outcome.exception() if state.outcome else None)


def _log_state(status: DeliveryStatus) -> None:
    """Log a change of the delivery state; as an error if an operator has to act."""
    level = logging.ERROR if status.state is LoopState.HOLDING else logging.INFO
    fields = {"cause": status.cause, "detail": status.detail, "http_status": status.http_status}
    given = {name: value for name, value in fields.items() if value is not None}
    log_event(_log, level, _EVENTS[status.state], **given)
