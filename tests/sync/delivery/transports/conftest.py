"""Fixtures: a scripted central, and transports that send to it."""

from collections.abc import AsyncIterator

import pytest

from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from tests.support.central import ScriptedCentral
from tests.support.transports import RecordedSleeps, batch_transport, caller_to, replay_transport


@pytest.fixture
async def central() -> AsyncIterator[ScriptedCentral]:
    async with ScriptedCentral() as scripted:
        yield scripted


@pytest.fixture
async def caller(central: ScriptedCentral) -> AsyncIterator[CentralClient]:
    async with caller_to(central.url) as one:
        yield one


@pytest.fixture
def naps() -> RecordedSleeps:
    return RecordedSleeps()


@pytest.fixture
def batch(caller: CentralClient, naps: RecordedSleeps) -> BatchTransport:
    return batch_transport(caller, naps)


@pytest.fixture
def replay(caller: CentralClient, naps: RecordedSleeps) -> ReplayTransport:
    return replay_transport(caller, naps)
