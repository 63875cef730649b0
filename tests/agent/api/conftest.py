"""Fixtures that start agents for the tests of the till API."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.agent.in_process import (
    Agent,
    AgentServer,
    agent_in_a_thread,
    ready,
    settings_in,
)
from tests.support.clocks import AgentClock

StartAgent = Callable[..., Awaitable[Agent]]


@pytest.fixture
def clock() -> AgentClock:
    return AgentClock()


@pytest.fixture(scope="session")
def new_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a storage directory as after a first start, once: that is the slowest part."""
    directory = tmp_path_factory.mktemp("new") / "state"
    with agent_in_a_thread(settings_in(directory)):
        pass
    return directory


@pytest.fixture
async def start_agent(
    new_state: Path, tmp_path: Path, clock: AgentClock, aiohttp_client: AiohttpClient
) -> StartAgent:
    """Return a function that starts an agent with these settings; it is stopped after the test."""
    shutil.copytree(new_state, tmp_path / "state")

    async def start(**sections: object) -> Agent:
        server = AgentServer(settings_in(tmp_path / "state", **sections), clock)
        return await ready(server, await aiohttp_client(server, **server.client_options()))

    return start


@pytest.fixture
async def agent(start_agent: StartAgent) -> Agent:
    return await start_agent()
