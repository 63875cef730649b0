"""Puts the way to central together: outbox, transport, relay, and what runs beside them."""

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.config import Settings
from agent.config.delivery import AuthKind, AuthSettings, Protocol
from agent.store.facts import Moment
from agent.store.outbox import StoreOutbox
from agent.store.store import Store
from agent.store.troubles import StorageTrouble
from agent.store.writer import Writer
from sync.logs import log_event
from sync.outbox import Portion
from sync.pace import Pacer
from sync.push import Transport
from sync.quiet_hours import quiet_hours
from sync.relay import Relay, RelayRules, RelayState, RelayStatus
from sync.retry import RetryRules
from sync.schedule import Schedule
from sync.transports.attempts import Attempts
from sync.transports.auth import Credentials, FixedHeader, NoCredentials, bearer
from sync.transports.batch import BatchTransport
from sync.transports.caller import Caller
from sync.transports.http import Line, LineRules
from sync.transports.sender import Sender
from sync.version import installed_version

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the way to central needs of the rest of the agent."""

    settings: Settings
    writer: Writer
    schedule: Schedule
    now: Callable[[], Moment]
    boot_id: str


@asynccontextmanager
async def delivering(around: Surroundings) -> AsyncIterator[Relay | None]:
    """Deliver until the block ends; None where central is not configured.

    What is under way at the end is cut off: it is sent again at the next start.
    """
    if not around.settings.central.url:
        yield None
        return
    line = Line(_line_rules(around.settings))
    outbox = _outbox(around)

    async def tidy() -> None:
        while await outbox.erase_once():
            pass

    async def wake() -> None:
        relay.wake()

    relay = Relay(
        outbox,
        _transport(around, line),
        Pacer(around.settings.sync.bandwidth_bytes_per_second),
        _relay_rules(around.settings),
        tidy=tidy,
        watch=_note_state,
    )

    around.schedule.every(around.settings.sync.interval_seconds, wake)
    running = asyncio.ensure_future(_run(relay, around.writer))
    try:
        yield relay
    finally:
        running.cancel()
        await asyncio.wait([running])
        await line.close()


async def _run(relay: Relay, writer: Writer) -> None:
    """Run the relay once the store was opened, or could not be, which the relay then says."""
    with contextlib.suppress(StorageTrouble):
        await writer.run(_nothing)
    await relay.run()


def _nothing(_: Store) -> None:
    """Do nothing, after all that was asked for before."""


def _outbox(around: Surroundings) -> StoreOutbox:
    storage = around.settings.storage
    return StoreOutbox(
        around.writer,
        storage.directory,
        storage.encryption_key_path,
        now_us=lambda: around.now().wall_us,
        agent_version=installed_version(),
    )


def _transport(around: Surroundings, line: Line) -> Transport:
    settings = around.settings
    caller = Caller(line, settings.central.url, _credentials(settings.central.auth), _utc_now)
    attempts = Attempts(random.random)
    match settings.central.protocol:
        case Protocol.BATCH:
            portion = Portion(settings.sync.batch_events, settings.sync.max_batch_bytes)
            return BatchTransport(caller, _sender(around), attempts, portion)
        case Protocol.REPLAY:
            raise NotImplementedError


def _credentials(auth: AuthSettings) -> Credentials:
    match auth.kind:
        case AuthKind.BEARER if auth.token_file:
            return bearer(auth.token_file)
        case AuthKind.HEADER if auth.header_value_file:
            return FixedHeader(auth.header_name, auth.header_value_file)
        case _:
            return NoCredentials()


def _sender(around: Surroundings) -> Sender:
    store = around.settings.store
    return Sender(store.store_id, store.till_id, around.boot_id, installed_version(), around.now)


def _line_rules(settings: Settings) -> LineRules:
    central = settings.central
    return LineRules(
        timeout_seconds=settings.sync.timeout_seconds,
        connections=settings.sync.max_in_flight,
        ca_file=central.ca_file,
        client_cert_file=central.client_cert_file,
        client_key_file=central.client_key_file,
        proxy=central.proxy,
    )


def _relay_rules(settings: Settings) -> RelayRules:
    sync = settings.sync
    return RelayRules(
        RetryRules(sync.backoff_base_seconds, sync.backoff_cap_seconds, _slot(settings)),
        dice=random.random,
        is_quiet=quiet_hours(sync.quiet_hours, lambda: datetime.now().astimezone()),
    )


def _slot(settings: Settings) -> float:
    """Return this machine's share of a wait, from 0 to 1, the same at every start."""
    name = f"{settings.store.store_id}/{settings.store.till_id}"
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _note_state(status: RelayStatus) -> None:
    """Log that the way opened or closed: an alarm where somebody has to mend it."""
    level = logging.ERROR if status.state is RelayState.HOLDING else logging.INFO
    fields = {"trouble": status.trouble, "detail": status.detail, "http_status": status.http_status}
    given = {name: value for name, value in fields.items() if value is not None}
    log_event(_log, level, f"delivery.{status.state.value.replace(' ', '_')}", **given)
