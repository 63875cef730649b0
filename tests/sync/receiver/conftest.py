"""Receivers for the tests of what head office answers."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in

StartReceiver = Callable[..., Awaitable[Receiver]]


@pytest.fixture(scope="session")
def new_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a storage directory as a first start leaves it; most of a start goes into that."""
    directory = tmp_path_factory.mktemp("new") / "state"

    async def start_once() -> None:
        async with receiver_under_test(settings_in(directory)):
            pass

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, start_once()).result()
    return directory


@pytest.fixture
async def start_receiver(new_state: Path, tmp_path: Path) -> AsyncIterator[StartReceiver]:
    """Start a receiver with these sections of settings; it is stopped after the test."""
    shutil.copytree(new_state, tmp_path / "state")
    async with AsyncExitStack() as running:

        async def start(**sections: object) -> Receiver:
            settings = settings_in(tmp_path / "state", **sections)
            return await running.enter_async_context(receiver_under_test(settings))

        yield start


@pytest.fixture
def till() -> SimulatedAgent:
    return SimulatedAgent()


@pytest.fixture
async def receiver(start_receiver: StartReceiver, till: SimulatedAgent) -> Receiver:
    """A receiver that knows the till."""
    started = await start_receiver()
    await started.enroll(till)
    return started
