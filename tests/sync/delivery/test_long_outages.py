"""Hour-long outages in virtual time: events wait, retries are rare, delivery recovers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from sync.delivery.backoff import AMBIGUOUS_FAILURES, NETWORK_DOWN_CAP_SECONDS, Backoff
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.delivery_status import DeliveryStatus, LoopState
from sync.delivery.outbox import BatchLimits
from sync.delivery.outcomes import FailureCause
from sync.delivery.throttle import Throttle
from sync.delivery.transport import Transport
from sync.delivery.transports.auth import NoCredentials
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.replay.replay_transport import MAX_FAILURES_IN_A_ROW, ReplayTransport
from sync.delivery.transports.short_retries import ShortRetries
from tests.support.central import Fault, Request, ScriptedCentral, faults
from tests.support.central.in_memory import InMemoryClient
from tests.support.models.fake_outbox import FakeOutbox
from tests.support.transports import sender
from tests.support.virtual_time import run_in_virtual_time

HOUR_SECONDS, CAPTURE_SECONDS = 3_600, 10
CAP_SECONDS = 60.0
CAPTURES = HOUR_SECONDS // CAPTURE_SECONDS
# Few enough that no batch is encoded in a thread: virtual time has no threads.
LIMITS = BatchLimits(events=10, max_bytes=2**20)
BOTH = pytest.mark.parametrize("protocol", ["batch", "replay"])


class Store:
    """A till that keeps capturing, and a delivery loop that keeps retrying."""

    def __init__(self, protocol: str) -> None:
        self.central = ScriptedCentral()
        self.http = InMemoryClient(self.central)
        self.outbox = FakeOutbox()
        self.seen: list[DeliveryStatus] = []
        self.loop = DeliveryLoop(
            self.outbox,
            self._transport(protocol),
            Throttle(),
            Backoff(1.0, CAP_SECONDS, slot=0.5, random=lambda: 0.5),
            after_pass=self._after_pass,
            on_state_change=self.seen.append,
        )

    async def capture_for_an_hour(self) -> None:
        """Capture a session every few seconds."""
        for _ in range(CAPTURES):
            self.outbox.capture_session()
            self.loop.wake()
            await asyncio.sleep(CAPTURE_SECONDS)

    @property
    def at_central(self) -> list[str]:
        """Correlation ids that arrived, in order."""
        return [record.correlation_id for record in self.central.ledger.records]

    def _transport(self, protocol: str) -> Transport:
        client = CentralClient(self.http, "http://central.example", NoCredentials(), _now)
        retries = ShortRetries(lambda: 0.5)
        if protocol == "batch":
            return BatchTransport(client, sender(), retries, LIMITS)
        return ReplayTransport(
            client, retries, LIMITS, max_in_flight=8, on_terms=lambda _kind, _terms: None
        )

    async def _after_pass(self) -> None: ...


def _now() -> datetime:
    return datetime(2026, 3, 4, tzinfo=UTC)


@asynccontextmanager
async def running_store(protocol: str) -> AsyncIterator[Store]:
    store = Store(protocol)
    running = asyncio.ensure_future(store.loop.run())
    try:
        yield store
    finally:
        running.cancel()
        await asyncio.wait([running])


ALL = [f"s{number}" for number in range(1, CAPTURES + 1)]


@BOTH
def test_token_refused_for_an_hour_loses_nothing(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.central.credentials = set()
            await store.capture_for_an_hour()
            assert (store.at_central, len(store.outbox.waiting)) == ([], CAPTURES)
            assert not store.outbox.model.retries()
            assert store.loop.status.state is LoopState.HOLDING
            assert store.loop.status.http_status == 401

    run_in_virtual_time(scenario())


@BOTH
def test_delivery_resumes_when_the_token_is_accepted_again(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.central.credentials = set()
            await store.capture_for_an_hour()
            store.central.credentials = None
            await asyncio.sleep(CAP_SECONDS + 10)
            assert sorted(store.at_central) == sorted(ALL)
            assert (store.outbox.waiting, store.loop.status.state) == ([], LoopState.IDLE)

    run_in_virtual_time(scenario())


@BOTH
def test_blocked_state_is_reported_once_and_cleared_once(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.central.credentials = set()
            await store.capture_for_an_hour()
            store.central.credentials = None
            await asyncio.sleep(CAP_SECONDS + 10)
            states = [status.state for status in store.seen]
            assert states == [LoopState.HOLDING, LoopState.IDLE]

    run_in_virtual_time(scenario())


@BOTH
def test_refused_caller_retries_rarely_and_with_one_event(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.central.credentials = set()
            await store.capture_for_an_hour()
            # An event, a request without effect, and with `replay` the newest session.
            assert HOUR_SECONDS / CAP_SECONDS <= len(store.central.requests) / 3 <= 170

    run_in_virtual_time(scenario())


@BOTH
def test_network_recovery_after_an_hour_is_detected_within_seconds(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.http.is_disconnected = True
            await store.capture_for_an_hour()
            store.http.is_disconnected = False
            await asyncio.sleep(2 * NETWORK_DOWN_CAP_SECONDS)
            assert sorted(store.at_central) == sorted(ALL)

    run_in_virtual_time(scenario())


@BOTH
def test_recovery_from_short_connection_timeouts_is_detected_within_seconds(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.http.cause, store.http.is_disconnected = FailureCause.NO_CONNECTION, True
            store.outbox.capture_session()
            store.loop.wake()
            await asyncio.sleep(AMBIGUOUS_FAILURES * NETWORK_DOWN_CAP_SECONDS / 2)
            store.http.is_disconnected = False
            await asyncio.sleep(2 * NETWORK_DOWN_CAP_SECONDS)
            assert store.at_central == ALL[:1]

    run_in_virtual_time(scenario())


@BOTH
@pytest.mark.parametrize("cause", [FailureCause.CENTRAL_DOWN, FailureCause.NO_CONNECTION])
def test_head_office_down_for_an_hour_is_retried_about_twice_a_minute(
    protocol: str, cause: FailureCause
) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.http.cause, store.http.is_disconnected = cause, True
            await store.capture_for_an_hour()
            assert HOUR_SECONDS / CAP_SECONDS <= store.http.tries <= 150

            store.http.is_disconnected = False
            await asyncio.sleep(CAP_SECONDS + 10)
            assert sorted(store.at_central) == sorted(ALL)

    run_in_virtual_time(scenario())


@pytest.mark.parametrize(("protocol", "most"), [("batch", 170), ("replay", 270)])
def test_failing_head_office_gets_about_four_requests_a_minute(protocol: str, most: int) -> None:
    """And its agents' heartbeats. Requests that tell whose trouble it is were half of them."""

    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.central.default_fault = lambda _: faults.html(503)
            await store.capture_for_an_hour()
            assert HOUR_SECONDS / CAP_SECONDS <= len(store.central.requests) <= most

    run_in_virtual_time(scenario())


@BOTH
def test_retry_after_is_honoured(protocol: str) -> None:
    async def scenario() -> None:
        async with running_store(protocol) as store:
            store.central.default_fault = lambda _request: faults.overloaded("1800", 503)
            await store.capture_for_an_hour()
            assert len(store.central.requests) <= 3 * MAX_FAILURES_IN_A_ROW

            store.central.default_fault = lambda _request: None
            await asyncio.sleep(2_000)
            assert sorted(store.at_central) == sorted(ALL)

    run_in_virtual_time(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("stuck", [3, 10])
def test_events_that_always_fail_do_not_block_others(stuck: int) -> None:
    """At the head of the outbox, each would end every pass."""
    bad = set(ALL[:stuck])

    def default_fault(request: Request) -> Fault | None:
        is_bad = json.loads(request.body).get("correlationId") in bad
        return faults.problem(500, "INTERNAL_ERROR") if is_bad else None

    async def scenario() -> None:
        async with running_store("replay") as store:
            store.central.default_fault = default_fault
            await store.capture_for_an_hour()
            await asyncio.sleep(2 * CAP_SECONDS)
            assert set(store.at_central) == set(ALL) - bad
            assert len(store.outbox.waiting) == stuck

            store.central.default_fault = lambda _request: None
            store.loop.wake()  # as each interval does
            await asyncio.sleep(2 * CAP_SECONDS)
            assert sorted(store.at_central) == sorted(ALL)

    run_in_virtual_time(scenario())
