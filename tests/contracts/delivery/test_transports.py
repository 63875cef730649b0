"""Every transport, and the fake of the delivery tests, returns results that a pass can settle."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from sync.delivery.outcomes import Delivered, FailureCause, Refused, RetryLater
from sync.delivery.transport import Transport, WindowResult
from tests.support.central import ScriptedCentral
from tests.support.models.fake_transport import FakeTransport, accept_then_stop, refuse
from tests.support.transports import (
    batch_transport,
    client_to,
    replay_transport,
    sessions,
    verdicts,
    window,
)


@dataclass
class TransportHarness:
    """A transport, and what central does with the next window."""

    transport: Transport
    refuse_event: Callable[[int], None]
    go_down: Callable[[], Awaitable[None]]


def fake() -> TransportHarness:
    transport = FakeTransport()

    async def go_down() -> None:
        down = RetryLater(FailureCause.CENTRAL_DOWN, "connection refused")
        transport.script.append(accept_then_stop(0, down))

    return TransportHarness(
        transport, lambda number: transport.script.append(refuse(number)), go_down
    )


@pytest.fixture(params=["batch", "replay", "fake"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[TransportHarness]:
    if request.param == "fake":
        yield fake()
        return
    async with ScriptedCentral() as central, client_to(central.url) as client:
        make = batch_transport if request.param == "batch" else replay_transport
        yield TransportHarness(
            make(client), lambda number: central.refuse(f"session-{number}"), central.stop
        )


async def send(harness: TransportHarness) -> WindowResult:
    return await harness.transport.send(window(*sessions(1, 3)), probing=False)


async def test_accepted_window_is_delivered_event_by_event(harness: TransportHarness) -> None:
    result = await send(harness)

    assert verdicts(result) == dict.fromkeys((1, 2, 3), Delivered())
    assert (list(result.doubtful), result.stop) == ([], None)


async def test_refused_event_does_not_affect_the_others(harness: TransportHarness) -> None:
    harness.refuse_event(2)

    result = await send(harness)

    refused = verdicts(result)[2]
    assert isinstance(refused, Refused)
    assert verdicts(result) == {1: Delivered(), 2: refused, 3: Delivered()}
    assert result.stop is None


async def test_unreachable_central_stops_the_pass_without_verdicts_or_doubt(
    harness: TransportHarness,
) -> None:
    await harness.go_down()

    result = await send(harness)

    assert (list(result.results), list(result.doubtful)) == ([], [])
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is FailureCause.CENTRAL_DOWN
