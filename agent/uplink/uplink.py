"""Composes delivery to central: transport, delivery loop, heartbeats and scheduled jobs."""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, assert_never

from agent.config import Settings
from agent.config.delivery import AuthKind, Protocol, SyncSettings
from agent.facts import Timestamp
from agent.store.outbox.outbox import StoreOutbox
from agent.store.queries import StoreReader
from agent.uplink.heartbeat import CONTACT_SECONDS, HeartbeatLoop
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.backoff import BackoffRules, machine_slot
from sync.delivery.delivery_loop import DeliveryLoop, DeliveryRules, DeliveryState, DeliveryStatus
from sync.delivery.outbox import BatchLimits, OutboxUnavailable
from sync.delivery.quiet_hours import quiet_hours
from sync.delivery.throttle import Throttle
from sync.delivery.transport import Transport
from sync.delivery.transports.auth import Credentials, FixedHeader, NoCredentials, bearer
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.batch.sender import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpOptions
from sync.delivery.transports.oauth import ClientCredentials, OAuthClient
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from sync.delivery.transports.short_retries import ShortRetries
from sync.runtime.logging import log_event
from sync.runtime.scheduler import Schedule
from sync.runtime.version import installed_version

_log = logging.getLogger(__name__)
# Lanes idle at the end of each window; the larger the window, the smaller that share.
_EVENTS_PER_LANE = 32
_HOUR_SECONDS = 3_600
LONGEST_PAUSE_SECONDS = 60
_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class UplinkDependencies:
    """Dependencies of delivery on the rest of the agent."""

    settings: Settings
    outbox: StoreOutbox
    terms: ProgramTermsSync
    schedule: Schedule
    now: Callable[[], Timestamp]
    boot_id: str


@asynccontextmanager
async def delivering(around: UplinkDependencies) -> AsyncIterator[DeliveryLoop | None]:
    """Deliver until the block exits; yield None if central is not configured.

    Requests in flight at the exit are cancelled; their events are sent again at the next start.
    Erasure and purge of delivered events run even if central is not configured (any more).
    """
    settings = around.settings
    around.schedule.every(settings.sync.interval_seconds, _erasing(around.outbox))
    around.schedule.every(_HOUR_SECONDS, _purging(around.outbox))
    if not settings.central.url:
        yield None
        return
    line = HttpClient(line_rules(settings))
    caller = CentralClient(line, settings.central.url, credentials_of(settings, line), _utc_now)
    sender = _sender(around)
    relay = DeliveryLoop(
        around.outbox,
        _transport(around, caller, sender),
        Throttle(settings.sync.bandwidth_bytes_per_second),
        _relay_rules(settings),
        after_pass=lambda: _to_the_end(around.outbox.erase_once),
        on_state_change=_note_state,
    )
    around.schedule.every(settings.sync.interval_seconds, _waking(relay))
    around.schedule.every(_HOUR_SECONDS, _retrying(around.outbox, relay))
    contact = _contact(around, caller, sender, relay)
    # Each store has its own second of the minute, so that heartbeats do not arrive all at once.
    in_its_slot = CONTACT_SECONDS * _slot(settings)
    around.schedule.every(CONTACT_SECONDS, contact.trigger, first_after_seconds=in_its_slot)
    running = asyncio.ensure_future(_run(around, relay, contact))
    try:
        yield relay
    finally:
        running.cancel()
        await asyncio.wait([running])
        await line.close()


async def _run(around: UplinkDependencies, relay: DeliveryLoop, contact: HeartbeatLoop) -> NoReturn:
    """Deliver until cancelled; log an unexpected exception and start again."""
    while True:
        try:
            await _take_up_and_run(around, relay, contact)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("delivery.failed")
            await asyncio.sleep(_AGAIN_SECONDS)


async def _take_up_and_run(
    around: UplinkDependencies, relay: DeliveryLoop, contact: HeartbeatLoop
) -> None:
    """Restore the learned terms once the storage opens, queue due retries, then run the loops."""
    await around.terms.restore_when_open()
    with contextlib.suppress(OutboxUnavailable):
        await around.outbox.retry_due()
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run())
        if around.settings.central.protocol is Protocol.BATCH:
            group.create_task(contact.run())


def _waking(relay: DeliveryLoop) -> Callable[[], Awaitable[None]]:
    async def wake() -> None:
        relay.wake()

    return wake


def _erasing(outbox: StoreOutbox) -> Callable[[], Awaitable[None]]:
    async def erase() -> None:
        """Erase due addresses during a pass as well: on a slow line a pass can take hours."""
        with contextlib.suppress(OutboxUnavailable):
            await _to_the_end(outbox.erase_once)

    return erase


def _purging(outbox: StoreOutbox) -> Callable[[], Awaitable[None]]:
    async def purge() -> None:
        """Purge delivered events whose retention has expired."""
        with contextlib.suppress(OutboxUnavailable):
            await outbox.mend_times()
            await _to_the_end(outbox.purge_once)

    return purge


def _retrying(outbox: StoreOutbox, relay: DeliveryLoop) -> Callable[[], Awaitable[None]]:
    async def retry() -> None:
        """Retry dead letters that are due."""
        with contextlib.suppress(OutboxUnavailable):
            if await outbox.retry_due():
                relay.wake()

    return retry


async def _to_the_end(step: Callable[[], Awaitable[bool]]) -> None:
    """Run the bounded step until it returns False; captures are written between two steps."""
    while await step():
        pass


def _contact(
    around: UplinkDependencies, caller: CentralClient, sender: Sender, relay: DeliveryLoop
) -> HeartbeatLoop:
    reader = StoreReader(around.settings.storage.directory)
    return HeartbeatLoop(
        caller,
        sender,
        reader,
        around.outbox,
        around.terms,
        rewound=relay.wake,
        heard=relay.on_heartbeat_result,
    )


def _transport(around: UplinkDependencies, caller: CentralClient, sender: Sender) -> Transport:
    settings = around.settings
    attempts = ShortRetries(random.random)
    match settings.central.protocol:
        case Protocol.BATCH:
            portion = BatchLimits(settings.sync.batch_events, most_window_bytes(settings.sync))
            return BatchTransport(caller, sender, attempts, portion)
        case Protocol.REPLAY:
            in_flight = settings.sync.max_in_flight
            portion = BatchLimits(in_flight * _EVENTS_PER_LANE, most_window_bytes(settings.sync))
            return ReplayTransport(
                caller, attempts, portion, max_in_flight=in_flight, on_terms=around.terms.observe
            )
        case _:
            assert_never(settings.central.protocol)


def most_window_bytes(sync: SyncSettings) -> int:
    """Return the byte limit of a window; at a low bandwidth limit it bounds the pause after one."""
    if not sync.bandwidth_bytes_per_second:
        return sync.max_batch_bytes
    return min(sync.max_batch_bytes, sync.bandwidth_bytes_per_second * LONGEST_PAUSE_SECONDS)


def credentials_of(settings: Settings, line: HttpClient) -> Credentials:
    """Return the credentials for central as configured in `[central.auth]`."""
    auth = settings.central.auth
    match auth.kind:
        case AuthKind.BEARER if auth.token_file:
            return bearer(auth.token_file)
        case AuthKind.HEADER if auth.header_value_file:
            return FixedHeader(auth.header_name, auth.header_value_file)
        case AuthKind.OAUTH2 if auth.client_secret_file:
            client = OAuthClient(
                auth.token_url, auth.client_id, auth.client_secret_file, auth.scope
            )
            return ClientCredentials(line, client, time.monotonic, _utc_now)
        case _:
            return NoCredentials()


def _sender(around: UplinkDependencies) -> Sender:
    store = around.settings.store
    return Sender(store.store_id, store.till_id, around.boot_id, installed_version(), around.now)


def line_rules(settings: Settings, *, most_seconds: float = math.inf) -> HttpOptions:
    """Return connection settings for central; each request is limited to `most_seconds`."""
    central = settings.central
    return HttpOptions(
        timeout_seconds=min(settings.sync.timeout_seconds, most_seconds),
        connections=settings.sync.max_in_flight,
        ca_file=central.ca_file,
        client_cert_file=central.client_cert_file,
        client_key_file=central.client_key_file,
        proxy=central.proxy,
    )


def _relay_rules(settings: Settings) -> DeliveryRules:
    sync = settings.sync
    return DeliveryRules(
        BackoffRules(sync.backoff_base_seconds, sync.backoff_cap_seconds, _slot(settings)),
        random=random.random,
        is_quiet=quiet_hours(sync.quiet_hours, lambda: datetime.now().astimezone()),
    )


def _slot(settings: Settings) -> float:
    return machine_slot(settings.store.store_id, settings.store.till_id)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _note_state(status: DeliveryStatus) -> None:
    """Log a change of the delivery state; as an error if an operator has to act."""
    level = logging.ERROR if status.state is DeliveryState.HOLDING else logging.INFO
    fields = {"cause": status.cause, "detail": status.detail, "http_status": status.http_status}
    given = {name: value for name, value in fields.items() if value is not None}
    log_event(_log, level, f"delivery.{status.state.value.replace(' ', '_')}", **given)
