"""Fixtures that start agents for the tests of the till API."""

import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from tests.support.agent.in_process import (
    Agent,
    AgentServer,
    SharedAgentServer,
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


@pytest.fixture(scope="module")
def shared_server(
    new_state: Path, tmp_path_factory: pytest.TempPathFactory, shared_sections: dict[str, object]
) -> Iterator[SharedAgentServer]:
    """Run one agent for a whole module."""
    directory = shutil.copytree(new_state, tmp_path_factory.mktemp("shared") / "state")
    settings = settings_in(Path(directory), **shared_sections)
    with agent_in_a_thread(settings, AgentClock()) as address:
        yield SharedAgentServer(settings, address)


@pytest.fixture(scope="module")
def shared_sections() -> dict[str, object]:
    """Return the settings of the module's shared agent."""
    return {}


@pytest.fixture
async def shared_agent(shared_server: SharedAgentServer, aiohttp_client: AiohttpClient) -> Agent:
    """An agent that the module's tests share.

    For tests that record nothing, or only sessions with ids of their own: a start takes ten times
    as long as such a test. `bodies()` returns only those recorded since the test began.
    """
    options = shared_server.client_options()
    agent = await ready(shared_server, await aiohttp_client(shared_server, **options))
    agent.ignore_recorded()
    return agent
