"""Fixtures: a scripted central, and transports that send to it."""

from collections.abc import AsyncIterator

import pytest

from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from tests.support.central import ScriptedCentral
from tests.support.transports import RecordedSleeps, batch_transport, client_to, replay_transport


@pytest.fixture
async def central() -> AsyncIterator[ScriptedCentral]:
    async with ScriptedCentral() as scripted:
        yield scripted


@pytest.fixture
async def client(central: ScriptedCentral) -> AsyncIterator[CentralClient]:
    async with client_to(central.url) as one:
        yield one


@pytest.fixture
def sleeps() -> RecordedSleeps:
    return RecordedSleeps()


@pytest.fixture
def batch(client: CentralClient, sleeps: RecordedSleeps) -> BatchTransport:
    return batch_transport(client, sleeps)


@pytest.fixture
def replay(client: CentralClient, sleeps: RecordedSleeps) -> ReplayTransport:
    return replay_transport(client, sleeps)
