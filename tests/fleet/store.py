"""A store's agent from outbox to connection, assembled as in `agent.uplink.uplink`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from agent.config.central import SyncSettings
from agent.facts import Timestamp
from sync.delivery.backoff import Backoff, machine_slot
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.outbox import BatchLimits
from sync.delivery.throttle import Throttle
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.short_retries import ShortRetries
from tests.fleet.backlog import BOOT, Backlog

TILL = "till-1"
SETTINGS = SyncSettings()
STARTED_AT = datetime(2026, 3, 4, tzinfo=UTC)


class Store:
    """A store with one till; settings are the agent's defaults except `batch_events`."""

    def __init__(
        self,
        name: str,
        client: CentralClient,
        rng: Callable[[], float],
        batch_events: int = SETTINGS.batch_events,
    ) -> None:
        self.name = name
        self.backlog = Backlog(name)
        transport = BatchTransport(
            client,
            Sender(name, TILL, BOOT, "0.1.0", _clock()),
            ShortRetries(rng),
            BatchLimits(batch_events, SETTINGS.max_batch_bytes),
        )
        slot = machine_slot(name, TILL)
        base_seconds, cap_seconds = SETTINGS.backoff_base_seconds, SETTINGS.backoff_cap_seconds
        self.delivery = DeliveryLoop(
            self.backlog,
            transport,
            Throttle(),
            Backoff(base_seconds, cap_seconds, slot, rng),
            after_pass=_nothing,
            on_state_change=lambda _: None,
        )

    @property
    def waiting(self) -> int:
        """Return how many events are not yet delivered, as far as the store knows."""
        return self.backlog.captured - self.backlog.settled

    def capture(self) -> None:
        """Capture an event and wake the delivery loop."""
        self.backlog.capture()
        self.delivery.wake()


def _clock() -> Callable[[], Timestamp]:
    seconds = asyncio.get_running_loop().time
    started_us = int(STARTED_AT.timestamp() * 1_000_000)

    def now() -> Timestamp:
        now_us = int(seconds() * 1_000_000)
        return Timestamp(started_us + now_us, now_us)

    return now


async def _nothing() -> None: ...
