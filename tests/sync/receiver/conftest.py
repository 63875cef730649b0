"""Fixtures that start receivers for tests over HTTP."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.head_office.messages import AT, SimulatedAgent
from tests.support.head_office.receiver import (
    Receiver,
    ReceiverServer,
    client_options,
    receiver_under_test,
    settings_in,
)

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture(scope="session")
def new_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a storage directory as after a first start, once: that is the slowest part."""
    directory = tmp_path_factory.mktemp("new") / "state"

    async def start_once() -> None:
        async with receiver_under_test(settings_in(directory)):
            pass

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, start_once()).result()
    return directory


@pytest.fixture
async def start_receiver(
    new_state: Path, tmp_path: Path, aiohttp_client: AiohttpClient
) -> StartReceiver:
    """Return a function that starts a receiver with these settings, until the test ends."""
    shutil.copytree(new_state, tmp_path / "state")

    async def start(**sections: object) -> Receiver:
        server = ReceiverServer(settings_in(tmp_path / "state", **sections), lambda: AT)
        return Receiver(server, await aiohttp_client(server, **client_options()))

    return start


@pytest.fixture
def till() -> SimulatedAgent:
    return SimulatedAgent()


@pytest.fixture
async def receiver(start_receiver: StartReceiver, till: SimulatedAgent) -> Receiver:
    """A receiver at which the till is enrolled."""
    started = await start_receiver()
    await started.enroll(till)
    return started
